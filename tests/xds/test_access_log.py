"""Access logs as bytes: what betterproto2 writes is read, and no more than was asked for."""

import contextlib

import envoy_data_plane.envoy.service.accesslog.v3 as als_v3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.telemetry.sizes import Sample
from controlplane.xds import ProtocolError
from controlplane.xds.reports import MAX_NAME, MAX_REQUEST_SECONDS, decode_access_logs
from tests.xds.access_logs import entry, logs

ONE = Sample("p", "", "10.0.0.1", 9001, 840, 0.25, 200)
SAMPLES = st.builds(
    Sample,
    pool=st.sampled_from(["p", "pool.with-marks_1"]),
    class_name=st.sampled_from(["", "bulk"]),
    host=st.sampled_from(["10.0.0.1", "::1"]),
    port=st.integers(1, 65535),
    bytes=st.integers(0, 2**63 - 1),
    seconds=st.integers(0, 80_000_000_000).map(lambda item: item / 1e6),
    status=st.sampled_from([0, 200, 429, 503]),
)


def read(message: als_v3.StreamAccessLogsMessage, most: int = 100) -> tuple[Sample, ...]:
    return decode_access_logs(bytes(message), first=False, most=most).samples


@given(st.lists(SAMPLES, max_size=5))
def test_what_an_envoy_says_is_what_is_read(samples: list[Sample]) -> None:
    found = read(logs(*map(entry, samples)))
    assert [item._replace(seconds=0) for item in found] == [
        sample._replace(seconds=0) for sample in samples
    ]
    assert [each.seconds for each in found] == pytest.approx([sample.seconds for sample in samples])


def test_a_clusters_name_is_pool_and_class() -> None:
    assert read(logs(entry(ONE._replace(class_name="bulk"))))[0][:2] == ("p", "bulk")
    assert read(logs(entry(ONE)))[0][:2] == ("p", "")


@pytest.mark.parametrize(("cluster", "of"), [("p/retries", ""), ("p:bulk/retries", "bulk")])
def test_what_was_tried_again_is_of_the_same_pool_and_class(cluster: str, of: str) -> None:
    (found,) = read(logs(entry(ONE._replace(pool=cluster))))
    assert found == ONE._replace(class_name=of)


def test_a_request_that_reached_no_replica_has_none() -> None:
    lost = ONE._replace(host="", port=0, status=503)
    assert read(logs(entry(lost))) == (lost,)


def test_who_sends_it_is_read_of_the_first_message_only() -> None:
    data = bytes(logs(entry(ONE)))
    node = decode_access_logs(data, first=True, most=0).node
    assert node is not None
    assert node.id == "sidecar-1"
    assert decode_access_logs(data, first=False, most=0).node is None


@pytest.mark.parametrize("most", range(4))
def test_no_more_entries_are_looked_at_than_there_is_use_for(most: int) -> None:
    message = logs(entry(ONE), entry(ONE), entry(ONE))
    found = decode_access_logs(bytes(message), first=False, most=most)
    assert (len(found.samples), found.looked) == (most, most)


def test_entries_that_are_not_looked_at_may_be_garbage() -> None:
    data = bytes(logs(entry(ONE))) + b"\x12\x04\x0a\x02\xff\xff"
    assert decode_access_logs(data, first=False, most=1).samples == (ONE,)
    with pytest.raises(ProtocolError):
        decode_access_logs(data, first=False, most=2)


@pytest.mark.parametrize(
    "nothing",
    [
        entry(ONE._replace(pool="")),
        entry(ONE._replace(pool="p" * (MAX_NAME + 1))),
        entry(ONE._replace(host="h" * (MAX_NAME + 1))),
    ],
    ids=["no cluster", "a long cluster", "a long host"],
)
def test_an_entry_that_is_of_no_use_is_left_out(nothing: object) -> None:
    found = decode_access_logs(bytes(logs(nothing, entry(ONE))), first=False, most=9)  # type: ignore[arg-type]
    assert found.samples == (ONE,)
    assert found.looked == 2


def test_a_request_that_found_no_replica_is_of_the_pool_whose_route_it_took() -> None:
    told = entry(ONE._replace(host="", port=0))
    assert told.common_properties is not None
    told.common_properties.upstream_cluster = ""
    assert read(logs(told)) == (ONE._replace(host="", port=0),)


def test_a_request_that_lasts_for_ever_lasts_a_day() -> None:
    assert read(logs(entry(ONE._replace(seconds=1e9))))[0].seconds == MAX_REQUEST_SECONDS


def test_logs_of_connections_are_left_out() -> None:
    tcp = als_v3.StreamAccessLogsMessage(
        tcp_logs=als_v3.StreamAccessLogsMessageTcpAccessLogEntries(log_entry=[])
    )
    assert read(tcp) == ()


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error_or_nothing(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_access_logs(data, first=True, most=100)


@settings(max_examples=50)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3), SAMPLES)
def test_a_damaged_message_is_a_protocol_error_or_read(at: int, put: bytes, sample: Sample) -> None:
    data = bytes(logs(entry(sample), entry(ONE)))
    at %= len(data)
    with contextlib.suppress(ProtocolError):
        decode_access_logs(data[:at] + put + data[at + len(put) :], first=True, most=100)


def test_an_identifier_without_a_node_has_none() -> None:
    message = als_v3.StreamAccessLogsMessage(
        identifier=als_v3.StreamAccessLogsMessageIdentifier(node=None, log_name="x")
    )
    assert decode_access_logs(bytes(message), first=True, most=1).node is None
