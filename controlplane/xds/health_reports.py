"""What an Envoy says of the replicas that it was asked to check, as it goes over the wire.

Field numbers are those of envoy/service/health/v3/hds.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from controlplane.resources.encoding import VARINT, tag
from controlplane.resources.health_checks import PREFIX
from controlplane.signals.load import Endpoint
from controlplane.xds.errors import ProtocolError
from controlplane.xds.node import Node, decode_node
from controlplane.xds.wire import fields, socket_address, text

MAX_ENDPOINTS: Final = 1_000
"""That one report may be about; nobody is asked for so many."""

_HEALTHY: Final = 1


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A ``HealthCheckRequestOrEndpointHealthResponse``.

    Attributes:
        node: Who introduces itself; None in a report.
        healthy: By endpoint, whether its checks succeed.
    """

    node: Node | None = None
    healthy: dict[Endpoint, bool] = field(default_factory=dict)


def decode_health_report(data: bytes) -> HealthReport:
    """Decode a message.

    Raises:
        ProtocolError: When the bytes are none, or it is about too much.
    """
    node, healthy = None, dict[Endpoint, bool]()
    for key, _, value in fields(memoryview(data)):
        if key == tag(1):
            for inner, _, request in fields(value):
                if inner == tag(1):
                    node = decode_node(request)
        elif key == tag(2):
            for inner, _, cluster in fields(value):
                if inner == tag(2):
                    healthy |= _cluster(cluster)
    if len(healthy) > MAX_ENDPOINTS:
        raise ProtocolError(
            "RESOURCE_EXHAUSTED", f"a health report of over {MAX_ENDPOINTS} endpoints"
        )
    return HealthReport(node, healthy)


def _cluster(data: memoryview) -> Iterator[tuple[Endpoint, bool]]:
    """A ``ClusterEndpointsHealth``."""
    name, localities = "", []
    for key, _, value in fields(data):
        if key == tag(1):
            name = text(value).removeprefix(PREFIX)
        elif key == tag(2):
            localities.append(value)
    for locality in localities:
        for key, _, value in fields(locality):
            if key == tag(2):
                yield _endpoint(name, value)


def _endpoint(pool: str, data: memoryview) -> tuple[Endpoint, bool]:
    """An ``EndpointHealth``."""
    host, port, status = "", 0, 0
    for key, number, value in fields(data):
        if key == tag(1):
            for inner, _, address in fields(value):
                if inner == tag(1):
                    host, port = socket_address(address)
        elif key == tag(2, VARINT):
            status = number
    return Endpoint(pool, host, port), status == _HEALTHY
