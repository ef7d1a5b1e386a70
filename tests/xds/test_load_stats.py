"""Load reports as bytes: the same as betterproto2 reads and writes them."""

import contextlib
from collections.abc import Mapping
from datetime import timedelta

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.service.load_stats.v3 as load_stats_v3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.resources.views import View
from controlplane.telemetry.load import (
    NO_CLASSES,
    Endpoint,
    Failing,
    InLocality,
    Load,
    LoadReports,
)
from controlplane.xds import LoadStats, ProtocolError
from controlplane.xds import reports as load_stats
from controlplane.xds.reports import (
    MAX_IN_PROGRESS,
    MAX_REQUESTS_PER_SECOND,
    decode_load_stats,
    encode_load_stats_response,
)

COUNTS = st.integers(0, 1000)
ENDPOINTS = st.builds(
    Endpoint, st.sampled_from("pq"), st.sampled_from(["10.0.0.1", "::1"]), st.integers(1, 65535)
)


def counted(
    succeeded: float, failed: float, in_progress: float, classes: Mapping[str, Load] = NO_CLASSES
) -> Load:
    """A load of a first report: all that has ended or is in progress was sent."""
    return Load(succeeded, failed, in_progress, classes, issued=succeeded + failed + in_progress)


def stats(endpoint: Endpoint, load: Load) -> endpoint_v3.UpstreamEndpointStats:
    address = core_v3.SocketAddress(address=endpoint.host, port_value=endpoint.port)
    return endpoint_v3.UpstreamEndpointStats(
        address=core_v3.Address(socket_address=address),
        total_successful_requests=int(load.succeeded),
        total_error_requests=int(load.failed),
        total_requests_in_progress=int(load.in_progress),
        total_issued_requests=int(load.issued),
    )


def request(
    loads: list[tuple[Endpoint, Load]], seconds: float = 1.0
) -> load_stats_v3.LoadStatsRequest:
    """A report with a locality for each of these."""
    return load_stats_v3.LoadStatsRequest(
        node=core_v3.Node(id="sidecar-1"),
        cluster_stats=[
            endpoint_v3.ClusterStats(
                cluster_name=endpoint.pool,
                load_report_interval=timedelta(seconds=seconds),
                upstream_locality_stats=[
                    endpoint_v3.UpstreamLocalityStats(
                        locality=core_v3.Locality(region="eu"),
                        total_successful_requests=99,
                        upstream_endpoint_stats=[stats(endpoint, load)],
                    )
                ],
            )
            for endpoint, load in loads
        ],
    )


@given(
    st.dictionaries(
        ENDPOINTS,
        st.builds(counted, COUNTS, COUNTS, COUNTS),
        max_size=5,
    )
)
def test_a_report_is_read_as_betterproto2_writes_it(loads: dict[Endpoint, Load]) -> None:
    found = decode_load_stats(bytes(request([*loads.items()], 2.5)), first=True)
    assert found.loads == loads
    assert found.seconds == (2.5 if loads else 0.0)
    assert found.node is not None
    assert found.node.id == "sidecar-1"


def test_a_node_that_is_repeated_is_not_even_looked_at() -> None:
    assert decode_load_stats(b"\x0a\x01\xff", first=False) == load_stats.LoadStats()


def test_the_node_is_read_once() -> None:
    assert decode_load_stats(bytes(request([])), first=False).node is None


def of_localities(*loads: tuple[str, Load]) -> load_stats.LoadStats:
    """What is read of a report as gRPC makes it, of these sub-zones."""
    localities = [
        endpoint_v3.UpstreamLocalityStats(
            locality=core_v3.Locality(region="eu", zone="a", sub_zone=sub_zone),
            total_successful_requests=int(load.succeeded),
            total_error_requests=int(load.failed),
            total_requests_in_progress=int(load.in_progress),
            total_issued_requests=int(load.issued),
        )
        for sub_zone, load in loads
    ]
    cluster = endpoint_v3.ClusterStats(cluster_name="p:c", upstream_locality_stats=localities)
    message = load_stats_v3.LoadStatsRequest(cluster_stats=[cluster])
    return decode_load_stats(bytes(message), first=False)


def test_localities_without_endpoints_are_told_apart_as_grpc_reports_them() -> None:
    found = of_localities(("tier-1", counted(1, 2, 3)), ("tier-2", counted(4, 5, 6)))
    assert found.loads == {}
    assert found.localities == {
        InLocality("p:c", "eu", "a", "tier-1"): counted(1, 2, 3),
        InLocality("p:c", "eu", "a", "tier-2"): counted(4, 5, 6),
    }


def test_what_is_counted_for_endpoints_is_not_counted_again_for_their_locality() -> None:
    loads = [(Endpoint("p", "10.0.0.1", 1), counted(1, 2, 3))]
    assert decode_load_stats(bytes(request(loads)), first=True).localities == {}


def test_localities_have_the_limits_of_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProtocolError, match=r"INVALID_ARGUMENT.*more than there can be"):
        of_localities(("tier-1", counted(0, 0, MAX_IN_PROGRESS + 1)))
    monkeypatch.setattr(load_stats, "MAX_LOAD_ENDPOINTS", 2)
    with pytest.raises(ProtocolError, match=r"RESOURCE_EXHAUSTED.*over 2 endpoints"):
        of_localities(*((f"tier-{number}", counted(1, 1, 1)) for number in range(3)))


def test_a_replica_in_two_localities_is_added_up() -> None:
    at = Endpoint("p", "10.0.0.1", 1)
    found = decode_load_stats(
        bytes(request([(at, counted(1, 2, 3)), (at, counted(10, 20, 30))])), first=True
    )
    assert found.loads == {at: counted(11, 22, 33)}


def test_an_endpoint_without_an_address_is_left_out() -> None:
    nowhere = request([(Endpoint("p", "", 0), counted(1, 1, 1))])
    assert decode_load_stats(bytes(nowhere), first=True).loads == {}


def reading(load: Load, seconds: float) -> Load:
    at = Endpoint("p", "10.0.0.1", 1)
    return decode_load_stats(bytes(request([(at, load)], seconds)), first=True).loads[at]


MOST = [
    # A report that covers less than a second may be of a burst.
    (counted(MAX_REQUESTS_PER_SECOND - 1, 1, 0), 0.25),
    (counted(1, 2 * MAX_REQUESTS_PER_SECOND - 1, 0), 2.0),
    (counted(0, 0, MAX_IN_PROGRESS), 1.0),
]


@pytest.mark.parametrize(("load", "seconds"), MOST)
def test_as_much_as_there_can_be_is_taken_in(load: Load, seconds: float) -> None:
    assert reading(load, seconds) == load


@pytest.mark.parametrize(("load", "seconds"), MOST)
def test_more_than_there_can_be_is_refused(load: Load, seconds: float) -> None:
    succeeded, failed, in_progress = (count + 1 if count else 0 for count in load[:3])
    more = counted(succeeded, failed, in_progress)
    with pytest.raises(ProtocolError, match=r"INVALID_ARGUMENT.*more than there can be"):
        reading(more, seconds)


def test_a_report_about_too_many_endpoints_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_stats, "MAX_LOAD_ENDPOINTS", 2)
    loads = [(Endpoint("p", "10.0.0.1", port), counted(1, 1, 1)) for port in (1, 2, 3)]
    assert len(decode_load_stats(bytes(request(loads[:2])), first=True).loads) == 2
    with pytest.raises(ProtocolError, match=r"RESOURCE_EXHAUSTED.*over 2 endpoints"):
        decode_load_stats(bytes(request(loads)), first=True)


def test_a_report_covers_as_long_as_the_longest_of_its_clusters_and_an_hour_at_most() -> None:
    one = [(Endpoint("p", "10.0.0.1", 1), counted(1, 1, 1))]
    both = bytes(request(one, 2.0)) + bytes(request(one, 1.0))
    assert decode_load_stats(both, first=False).seconds == 2.0
    assert decode_load_stats(bytes(request(one, 1e6)), first=False).seconds == 3600.0


def test_every_locality_of_a_cluster_counts() -> None:
    (first,), (second,) = (
        request([(Endpoint("p", "10.0.0.1", port), counted(port, 0, 0))]).cluster_stats
        for port in (1, 2)
    )
    first.upstream_locality_stats += second.upstream_locality_stats
    message = load_stats_v3.LoadStatsRequest(cluster_stats=[first])
    assert {at.port for at in decode_load_stats(bytes(message), first=False).loads} == {1, 2}


def dropped(cluster: str, *counts: tuple[str, int]) -> endpoint_v3.ClusterStats:
    return endpoint_v3.ClusterStats(
        cluster_name=cluster,
        total_dropped_requests=99,
        dropped_requests=[
            endpoint_v3.ClusterStatsDroppedRequests(category=category, dropped_count=count)
            for category, count in counts
        ],
    )


def test_requests_that_found_their_pool_asleep_are_counted_by_pool() -> None:
    message = load_stats_v3.LoadStatsRequest(
        cluster_stats=[
            dropped("p", ("asleep", 3), ("asleep", 4), ("other", 50)),
            dropped("p:bulk", ("asleep", 2)),
            dropped("q", ("other", 1)),
        ]
    )
    found = decode_load_stats(bytes(message), first=False)
    assert found.unserved == {"p": 9}


def test_more_that_found_a_pool_asleep_than_there_can_be_is_refused() -> None:
    half = ("asleep", MAX_REQUESTS_PER_SECOND // 2 + 1)
    for clusters in ([dropped("p", half)], [dropped("p", half), dropped("p:bulk", half)]):
        data = bytes(load_stats_v3.LoadStatsRequest(cluster_stats=clusters))
        if len(clusters) == 1:
            assert decode_load_stats(data, first=False).unserved
        else:
            with pytest.raises(ProtocolError, match="more than there can be"):
                decode_load_stats(data, first=False)


def test_of_pools_that_a_reporter_is_not_shown_nothing_counts() -> None:
    loads = {Endpoint(pool, "10.0.0.1", 1): counted(1, 0, 0) for pool in ("p", "q")}
    clusters = ("p", "p:bulk", "q")
    localities = {InLocality(name, "eu", "a", ""): counted(1, 0, 0) for name in clusters}
    stats = LoadStats(None, 1.0, loads, localities, {"p": 1, "q": 1})
    assert stats.within(View()) is stats
    found = stats.within(View(pools=("p",)))
    assert found.unserved.keys() == {"p"}
    assert [at.pool for at in found.loads] == ["p"]
    assert [at.cluster for at in found.localities] == ["p", "p:bulk"]


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error_or_nothing(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_load_stats(data, first=True)


@pytest.mark.parametrize("interval", [0.5, 1.0, 12.25])
def test_an_envoy_is_asked_for_every_endpoint_of_every_cluster(interval: float) -> None:
    message = load_stats_v3.LoadStatsResponse.parse(encode_load_stats_response(interval))
    assert message.send_all_clusters
    assert message.report_endpoint_granularity
    assert message.load_reporting_interval == timedelta(seconds=interval)


def test_what_the_clusters_of_classes_did_is_added_up_and_told_apart() -> None:
    at = Endpoint("p", "10.0.0.1", 80)
    of_bulk = (at._replace(pool="p:bulk"), counted(3, 0, 1))
    loads = [of_bulk, (at, counted(5, 1, 2)), of_bulk, (at._replace(pool="p:x"), counted(1, 0, 0))]
    assert decode_load_stats(bytes(request(loads)), first=True).loads == {
        at: counted(12, 1, 4, {"bulk": counted(6, 0, 2), "x": counted(1, 0, 0)})
    }


def test_what_was_tried_again_counts_at_the_pool_and_the_class_that_it_belongs_to() -> None:
    at = Endpoint("p", "10.0.0.1", 80)
    loads = [
        (at, counted(6, 2, 1)),
        (at._replace(pool="p/retries"), counted(1, 1, 1)),
        (at._replace(pool="p:x/retries"), counted(0, 2, 3)),
    ]
    found = decode_load_stats(bytes(request(loads)), first=True).loads
    assert found == {at: counted(7, 5, 5, {"x": counted(0, 2, 3)})}
    reports = LoadReports()
    reports.record("sidecar-1", found, 1.0, 0.0)
    # By this it is judged whether a replica fails: tries that failed count, whatever came of them.
    assert reports.failing(at, 0.0) == Failing(5 / 12, 12)


def test_what_sidecars_send_to_gateways_is_left_to_the_gateways_to_report() -> None:
    gateway = Endpoint("p:bulk/gateways", "10.0.0.5", 10100)
    replica = Endpoint("p:bulk", "10.0.0.1", 8080)
    sent = request([(gateway, counted(3, 0, 1)), (replica, counted(2, 0, 0))])
    loads = decode_load_stats(bytes(sent), first=True).loads
    assert {at: each.succeeded for at, each in loads.items()} == {replica._replace(pool="p"): 2}
