"""What Envoys are asked to check, and what they say of it, as betterproto2 reads and writes it."""

from contextlib import suppress
from datetime import timedelta

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.service.health.v3 as health_v3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Address
from controlplane.resources.health_checks import PREFIX, HealthTarget, health_check_specifier
from controlplane.resources.messages import socket_address
from controlplane.telemetry.load import Endpoint
from controlplane.xds import ProtocolError
from controlplane.xds.reports import MAX_HEALTH_ENDPOINTS, HealthReport, decode_health_report
from tests.fleet.fleets import a_pool

Message = health_v3.HealthCheckRequestOrEndpointHealthResponse


def report(count: int, status: core_v3.HealthStatus) -> bytes:
    seen = [
        health_v3.EndpointHealth(
            endpoint=endpoint_v3.Endpoint(address=socket_address(Address("10.0.0.1", 1 + n))),
            health_status=status,
        )
        for n in range(count)
    ]
    cluster = health_v3.ClusterEndpointsHealth(
        cluster_name=f"{PREFIX}p",
        locality_endpoints_health=[health_v3.LocalityEndpointsHealth(endpoints_health=seen)],
    )
    told = health_v3.EndpointHealthResponse(
        endpoints_health=seen, cluster_endpoints_health=[cluster]
    )
    return bytes(Message(endpoint_health_response=told))


@pytest.mark.parametrize(
    ("status", "is_healthy"),
    [
        (core_v3.HealthStatus.HEALTHY, True),
        (core_v3.HealthStatus.UNHEALTHY, False),
        (core_v3.HealthStatus.TIMEOUT, False),
        (core_v3.HealthStatus.UNKNOWN, False),
    ],
)
def test_what_an_envoy_sees_is_read(status: core_v3.HealthStatus, *, is_healthy: bool) -> None:
    expected = {Endpoint("p", "10.0.0.1", 1 + n): is_healthy for n in range(2)}
    assert decode_health_report(report(2, status)) == HealthReport(None, expected)


def test_a_first_message_names_the_node() -> None:
    request = health_v3.HealthCheckRequest(node=core_v3.Node(id="sidecar"))
    node = decode_health_report(bytes(Message(health_check_request=request))).node
    assert node is not None
    assert node.id == "sidecar"


def test_a_report_of_too_many_is_refused() -> None:
    with pytest.raises(ProtocolError, match=f"over {MAX_HEALTH_ENDPOINTS}"):
        decode_health_report(report(MAX_HEALTH_ENDPOINTS + 1, core_v3.HealthStatus.HEALTHY))


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    with suppress(ProtocolError):
        decode_health_report(data)


def test_each_replica_is_checked_as_its_pool_says_under_its_own_host_and_more_rarely() -> None:
    pool = a_pool(a=1, b=2).pool("p")
    checked = [HealthTarget(pool, replica) for replica in pool.replicas.values()]
    found = health_v3.HealthCheckSpecifier.parse(health_check_specifier(checked))
    (cluster,) = found.cluster_health_checks
    (check,) = cluster.health_checks
    assert (cluster.cluster_name, check.interval) == (f"{PREFIX}p", timedelta(seconds=5))
    assert (check.unhealthy_threshold, check.healthy_threshold) == (1, 1)
    assert check.http_health_check is not None
    assert check.http_health_check.path == "/health"
    (locality,) = cluster.locality_endpoints
    hosts = [
        endpoint.health_check_config and endpoint.health_check_config.hostname
        for endpoint in locality.endpoints
    ]
    assert hosts == ["127.0.0.1:1", "127.0.0.1:2"]
    assert [endpoint.address for endpoint in locality.endpoints] == [
        socket_address(item.replica.address) for item in checked
    ]
