"""TLS and protocols at both edges, as a config file says them."""

import pytest

from controlplane.config import PoolEntry, SettingsError, load_config

POOL = """\
pools:
  - name: p
    model: m
    listener: {address: "127.0.0.1:10000"%s}
    %s
"""


def pool(listener: str = "", more: str = "") -> PoolEntry:
    (found,) = load_config(POOL % (listener and f", {listener}", more), "f.yaml").pools
    return found


def test_a_listener_names_files_of_the_envoys_machine() -> None:
    tls = pool("tls: {certificate: /t/tls.crt, key: /t/tls.key, client_ca: /t/ca.crt}").listener.tls
    assert tls is not None
    assert (tls.certificate, tls.key, tls.client_ca) == ("/t/tls.crt", "/t/tls.key", "/t/ca.crt")


def test_replicas_are_reached_in_plain_http1_unless_the_pool_says_otherwise() -> None:
    assert (pool().upstream.protocol, pool().upstream.tls) == ("http1", None)
    said = pool(more="upstream: {protocol: http2, tls: {ca: system, server_name: a.test}}")
    assert said.upstream.protocol == "http2"
    assert said.upstream.tls is not None
    assert (said.upstream.tls.ca, said.upstream.tls.name_of("r0")) == ("system", "a.test")


def test_without_a_server_name_each_certificate_is_of_its_replicas_id() -> None:
    tls = pool(more="upstream: {tls: {ca: /ca.crt}}").upstream.tls
    assert tls is not None
    assert tls.name_of("gpu-1.test") == "gpu-1.test"


def test_the_health_service_of_grpc_has_no_path() -> None:
    more = "upstream: {protocol: http2}\n    health_check: {protocol: grpc, service: a.B}"
    check = pool(more=more).health_check
    assert (check.asked, pool(more=more).is_grpc) == ("grpc.health.v1.Health a.B", True)
    assert pool().health_check.asked == "/health"


def test_a_profile_has_no_path_for_the_health_service_of_grpc() -> None:
    more = (
        "upstream: {protocol: http2}\n"
        "    health_check: {protocol: grpc}\n"
        "    metrics: {profile: triton}"
    )
    assert pool(more=more).health_check.protocol == "grpc"


@pytest.mark.parametrize(
    ("listener", "more", "sentence"),
    [
        (
            "tls: {certificate: tls.crt, key: /tls.key}",
            "",
            "f.yaml:4: pools[0].listener.tls.certificate: 'tls.crt' must be an absolute path",
        ),
        (
            "tls: {certificate: /dev/zero, key: /tls.key}",
            "",
            "pools[0].listener.tls.certificate: '/dev/zero' is not the path of a file",
        ),
        ("tls: {certificate: /tls.crt}", "", "f.yaml:4: pools[0].listener.tls.key:"),
        ("", "upstream: {tls: {}}", "f.yaml:5: pools[0].upstream.tls.ca:"),
        ("", "upstream: {tls: {ca: roots.pem}}", "pools[0].upstream.tls.ca: 'roots.pem' must be"),
        ("", "upstream: {protocol: h2}", "f.yaml:5: pools[0].upstream.protocol:"),
        (
            "",
            "health_check: {protocol: grpc}",
            "f.yaml:5: pools[0].health_check.protocol: grpc needs upstream: {protocol: http2}",
        ),
        (
            "",
            "upstream: {protocol: http2}\n    mesh: {mode: permissive}",
            "f.yaml:5: pools[0].upstream: does not go with a mesh",
        ),
        (
            "",
            "health_check: {service: a.B}",
            "f.yaml:5: pools[0].health_check.service: goes with protocol: grpc",
        ),
        (
            "",
            "health_check: {protocol: grpc, path: /ready}",
            "f.yaml:5: pools[0].health_check.path: goes with protocol: http",
        ),
        (
            "",
            "upstream: {protocol: http2}\n    health_check: {protocol: grpc}\n"
            "    classes: [{name: long, match: {min_bytes: 4096}}]",
            "f.yaml:7: pools[0].classes[0].match: matches by length",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_file_line_and_key(
    listener: str, more: str, sentence: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        pool(listener, more)
    assert sentence in str(raised.value)
