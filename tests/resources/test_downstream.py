"""What a listener makes of its clients: whom it believes, which paths and headers it takes."""

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.access_loggers.stream.v3 as stream_log_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import pytest

from controlplane.resources.listeners import LogFormat
from tests.resources.decoded import connection_manager

ESCAPED = hcm_v3.HttpConnectionManagerPathWithEscapedSlashesAction
UNDERSCORES = core_v3.HttpProtocolOptionsHeadersWithUnderscoresAction
OVERWRITE = hcm_v3.HttpConnectionManagerServerHeaderTransformation.OVERWRITE
EVERYWHERE = pytest.mark.parametrize("is_gateway", [False, True])


@EVERYWHERE
def test_no_spelling_of_a_path_steps_over_a_prefix(is_gateway: bool) -> None:  # noqa: FBT001 - a parameter of a test
    found = connection_manager("p", is_gateway=is_gateway)
    assert found.normalize_path
    assert found.merge_slashes
    assert found.path_with_escaped_slashes_action == ESCAPED.UNESCAPE_AND_REDIRECT


@EVERYWHERE
def test_a_client_is_who_connects_and_not_who_the_client_says(is_gateway: bool) -> None:  # noqa: FBT001 - a parameter of a test
    found = connection_manager("p", is_gateway=is_gateway)
    assert found.use_remote_address
    assert found.xff_num_trusted_hops == 0


@EVERYWHERE
def test_an_answer_does_not_name_the_replicas_server(is_gateway: bool) -> None:  # noqa: FBT001 - a parameter of a test
    assert connection_manager("p", is_gateway=is_gateway).server_header_transformation == OVERWRITE


def test_a_gateway_refuses_headers_that_a_server_may_take_for_others() -> None:
    common = connection_manager("p", is_gateway=True).common_http_protocol_options
    assert common is not None
    assert common.headers_with_underscores_action == UNDERSCORES.REJECT_REQUEST


def test_an_application_keeps_its_own_headers_and_request_ids() -> None:
    found = connection_manager("p")
    assert found.common_http_protocol_options is None
    assert found.preserve_external_request_id
    assert not connection_manager("p", is_gateway=True).preserve_external_request_id


def test_requests_are_written_down_only_where_that_is_asked_for() -> None:
    assert connection_manager("p").access_log == []


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_line_says_what_became_of_a_request_and_where(form: LogFormat) -> None:
    (log,) = connection_manager("p", log=form).access_log
    assert log.typed_config is not None
    lines = stream_log_v3.StdoutAccessLog.parse(log.typed_config.value).log_format
    assert lines is not None
    said = str(lines)
    for field in ("RESPONSE_FLAGS", "UPSTREAM_HOST", "REQ(X-REQUEST-ID)", "DURATION", "PATH"):
        assert f"%{field}" in said or field in said


def test_the_control_plane_is_told_beside_an_envoys_own_log() -> None:
    names = [log.name for log in connection_manager("p", "ours", log="json").access_log]
    assert names == ["envoy.access_loggers.http_grpc", "envoy.access_loggers.stdout"]
