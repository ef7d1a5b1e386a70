"""What Envoys report: load (LRS), requests (ALS), and the health of replicas (HDS).

Bytes of their messages in, values that telemetry and balancing use out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from google.protobuf.duration_pb2 import Duration

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.classes import class_of, leads_to_gateways, pool_of
from controlplane.resources.endpoints import ASLEEP
from controlplane.resources.health_checks import PREFIX
from controlplane.resources.views import View
from controlplane.telemetry.load import NOTHING, Endpoint, InLocality, Load
from controlplane.telemetry.sizes import Sample
from controlplane.xds.node import Node, ProtocolError, node_of
from controlplane.xds.protocol import parse

MAX_LOAD_ENDPOINTS: Final = 100_000
"""Endpoints that one load report may be about."""

MAX_REQUESTS_PER_SECOND: Final = 1_000_000
"""More of one Envoy to one endpoint is no measurement."""

MAX_IN_PROGRESS: Final = 1_000_000
"""Likewise, at one time."""

MAX_REPORT_SECONDS: Final = 3600.0
"""A report that covers longer counts as one that covers so long."""

MAX_REQUEST_SECONDS: Final = 86_400.0
"""A request that lasts longer counts as one that lasts so long."""

MAX_NAME: Final = 256
"""Characters of a cluster's or a host's name in an access log; a longer one is not one of ours."""

MAX_HEALTH_ENDPOINTS: Final = 1_000
"""Endpoints that one health report may be about; no Envoy is asked for so many."""

_HEALTHY: Final = 1


@dataclass(frozen=True, slots=True)
class LoadStats:
    """A ``LoadStatsRequest``.

    Attributes:
        node: Who reports; only in the first.
        seconds: That the report covers, the longest of its clusters; 0 if it reports nothing.
        localities: Where the client does not tell endpoints apart: gRPC never does.
        unserved: Requests to pools without a replica, by pool.
    """

    node: Node | None = None
    seconds: float = 0.0
    loads: dict[Endpoint, Load] = field(default_factory=dict)
    localities: dict[InLocality, Load] = field(default_factory=dict)
    unserved: dict[str, int] = field(default_factory=dict)

    def within(self, view: View) -> "LoadStats":
        """The same without pools that the reporter is not shown."""
        if view.pools is None:
            return self
        loads = {at: each for at, each in self.loads.items() if view.shows(at.pool)}
        there = {
            at: each for at, each in self.localities.items() if view.shows(pool_of(at.cluster))
        }
        unserved = {pool: count for pool, count in self.unserved.items() if view.shows(pool)}
        return replace(self, loads=loads, localities=there, unserved=unserved)


def decode_load_stats(data: bytes, *, first: bool) -> LoadStats:
    """Decode a ``LoadStatsRequest``; `ProtocolError`: what it says cannot be.

    The node is read only of the first: Envoy repeats its 60 kB in each.
    """
    request = parse(pb.LoadStatsRequest, data)
    node = node_of(parse(pb.Node, request.node)) if first and request.node else None
    seconds = 0.0
    loads: dict[Endpoint, Load] = {}
    localities: dict[InLocality, Load] = {}
    unserved: dict[str, int] = {}
    for cluster in request.cluster_stats:
        if leads_to_gateways(cluster.cluster_name):
            # The gateway reports of the replicas that it sends these requests to.
            continue
        seconds = max(seconds, _seconds(cluster.load_report_interval, MAX_REPORT_SECONDS))
        pool, of_class = pool_of(cluster.cluster_name), class_of(cluster.cluster_name)
        dropped = [
            drop.dropped_count for drop in cluster.dropped_requests if drop.category == ASLEEP
        ]
        if dropped:
            unserved[pool] = unserved.get(pool, 0) + sum(dropped)
        for locality in cluster.upstream_locality_stats:
            if not locality.upstream_endpoint_stats:
                place = locality.locality
                where = InLocality(cluster.cluster_name, place.region, place.zone, place.sub_zone)
                load = _load(locality)
                localities[where] = localities.get(where, NOTHING).plus(load, "")
            for stats in locality.upstream_endpoint_stats:
                at = stats.address.socket_address
                if not at.address:
                    continue
                endpoint = Endpoint(pool, at.address, at.port_value)
                load = _load(stats)
                # A replica is in a cluster for each class, and in two localities for the time of
                # a tier move.
                loads[endpoint] = loads.get(endpoint, NOTHING).plus(load, of_class)
            if len(loads) + len(localities) + len(unserved) > MAX_LOAD_ENDPOINTS:
                raise ProtocolError(
                    "RESOURCE_EXHAUSTED", f"a load report of over {MAX_LOAD_ENDPOINTS} endpoints"
                )
    most = MAX_REQUESTS_PER_SECOND * max(seconds, 1.0)
    is_possible = all(
        load.succeeded + load.failed <= most and load.in_progress <= MAX_IN_PROGRESS
        for load in (*loads.values(), *localities.values())
    ) and all(count <= most for count in unserved.values())
    if not is_possible:
        raise ProtocolError("INVALID_ARGUMENT", "a load report counts more than there can be")
    return LoadStats(node, seconds, loads, localities, unserved)


def _load(stats: pb.UpstreamEndpointStats | pb.UpstreamLocalityStats) -> Load:
    return Load(
        stats.total_successful_requests,
        stats.total_error_requests,
        stats.total_requests_in_progress,
        issued=stats.total_issued_requests,
    )


def encode_load_stats_response(interval: float) -> bytes:
    """Encode the ``LoadStatsResponse`` that asks for all endpoints every `interval` seconds."""
    seconds, nanos = divmod(round(interval * 1e9), 1_000_000_000)
    return pb.LoadStatsResponse(
        load_reporting_interval=Duration(seconds=seconds, nanos=nanos),
        report_endpoint_granularity=True,
        send_all_clusters=True,
    ).SerializeToString()


@dataclass(frozen=True, slots=True)
class AccessLogs:
    """A ``StreamAccessLogsMessage``: the samples in it, and how many entries were looked at."""

    node: Node | None
    samples: tuple[Sample, ...]
    looked: int


def decode_access_logs(data: bytes, *, first: bool, most: int) -> AccessLogs:
    """Decode a ``StreamAccessLogsMessage``, or raise `ProtocolError`.

    Only the first has the node. Of its entries `most` are parsed: Envoys see more requests than a
    control plane could look at.
    """
    message = parse(pb.StreamAccessLogsMessage, data)
    node = None
    if first and message.identifier:
        identifier = parse(pb.StreamAccessLogsMessage.Identifier, message.identifier)
        node = node_of(identifier.node) if identifier.HasField("node") else None
    entries = message.http_logs.log_entry[:most]
    samples = [_sample(parse(pb.HTTPAccessLogEntry, entry)) for entry in entries]
    return AccessLogs(node, tuple(filter(None, samples)), len(entries))


def _sample(entry: pb.HTTPAccessLogEntry) -> Sample | None:
    common = entry.common_properties
    # Of a request that found no replica Envoy names only the route, which is called as its cluster.
    cluster = common.upstream_cluster or common.route_name
    at = common.upstream_remote_address.socket_address
    if not cluster or len(cluster) > MAX_NAME or len(at.address) > MAX_NAME:
        return None
    return Sample(
        pool_of(cluster),
        class_of(cluster),
        at.address,
        at.port_value,
        entry.request.request_body_bytes,
        _seconds(common.duration, MAX_REQUEST_SECONDS),
        entry.response.response_code.value,
    )


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A ``HealthCheckRequestOrEndpointHealthResponse``: a node, or the health of endpoints."""

    node: Node | None = None
    healthy: dict[Endpoint, bool] = field(default_factory=dict)


def decode_health_report(data: bytes) -> HealthReport:
    """Decode a ``HealthCheckRequestOrEndpointHealthResponse``, or raise `ProtocolError`."""
    message = parse(pb.HealthCheckRequestOrEndpointHealthResponse, data)
    request = message.health_check_request
    healthy = dict(_health(message.endpoint_health_response))
    if len(healthy) > MAX_HEALTH_ENDPOINTS:
        raise ProtocolError(
            "RESOURCE_EXHAUSTED", f"a health report of over {MAX_HEALTH_ENDPOINTS} endpoints"
        )
    return HealthReport(node_of(request.node) if request.HasField("node") else None, healthy)


def _health(response: pb.EndpointHealthResponse) -> Iterator[tuple[Endpoint, bool]]:
    for cluster in response.cluster_endpoints_health:
        pool = cluster.cluster_name.removeprefix(PREFIX)
        for locality in cluster.locality_endpoints_health:
            for health in locality.endpoints_health:
                at = health.endpoint.address.socket_address
                endpoint = Endpoint(pool, at.address, at.port_value)
                yield endpoint, health.health_status == _HEALTHY


def _seconds(duration: Duration, most: float) -> float:
    return min(max(duration.seconds + duration.nanos / 1e9, 0.0), most)
