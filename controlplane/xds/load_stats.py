"""Load reports as they go over the wire: an Envoy's requests in, what it is to report out.

Field numbers are those of envoy/service/load_stats/v3/lrs.proto and
envoy/config/endpoint/v3/load_report.proto.
"""

from dataclasses import dataclass, field
from typing import Final

from controlplane.resources.classes import class_of, pool_of
from controlplane.resources.encoding import VARINT, delimited, tag, varint
from controlplane.signals.load import Endpoint, Load
from controlplane.xds.errors import ProtocolError
from controlplane.xds.node import Node, decode_node
from controlplane.xds.wire import duration, fields, socket_address, text

MAX_ENDPOINTS: Final = 100_000
"""Endpoints that one report may be about."""

MAX_REQUESTS_PER_SECOND: Final = 1_000_000
"""More of one Envoy to one endpoint is no measurement."""

MAX_SECONDS: Final = 3600.0
"""A report that covers longer counts as one that covers so long."""

MAX_IN_PROGRESS: Final = 1_000_000
"""Likewise, at one time."""


@dataclass(frozen=True, slots=True)
class LoadStats:
    """A ``LoadStatsRequest``.

    Attributes:
        node: Who reports; None unless it was to be read.
        seconds: That the report covers, the longest of its clusters; 0 if it reports nothing.
        loads: By endpoint.
    """

    node: Node | None = None
    seconds: float = 0.0
    loads: dict[Endpoint, Load] = field(default_factory=dict)


def decode_load_stats(data: bytes, *, first: bool) -> LoadStats:
    """Decode a ``LoadStatsRequest``.

    Args:
        data: The message.
        first: Whether its node matters. Envoy repeats it, 60 kB long, in every report.

    Raises:
        ProtocolError: When the bytes are none, or what they say cannot be.
    """
    node, seconds = None, 0.0
    loads: dict[Endpoint, Load] = {}
    for key, _, value in fields(memoryview(data)):
        if key == tag(1) and first:
            node = decode_node(value)
        elif key == tag(2):
            seconds = max(seconds, _cluster(value, loads))
    for load in loads.values():
        if (
            load.succeeded + load.failed > MAX_REQUESTS_PER_SECOND * max(seconds, 1.0)
            or load.in_progress > MAX_IN_PROGRESS
        ):
            raise ProtocolError("INVALID_ARGUMENT", "a load report counts more than there can be")
    return LoadStats(node, seconds, loads)


def encode_load_stats_response(interval: float) -> bytes:
    """Encode the ``LoadStatsResponse`` that asks for reports of every endpoint of every cluster.

    Args:
        interval: Seconds between two reports.
    """
    seconds, nanos = divmod(round(interval * 1e9), 1_000_000_000)
    every = _number(1, seconds) + _number(2, nanos)
    return delimited(2, every) + _number(3, 1) + _number(4, 1)


def _number(number: int, value: int) -> bytes:
    """Encode a number that proto3 leaves out when it is 0."""
    return varint(tag(number, VARINT)) + varint(value) if value else b""


def _cluster(data: memoryview, loads: dict[Endpoint, Load]) -> float:
    """A ``ClusterStats``; returns the seconds that it covers."""
    name, seconds, localities = "", 0.0, []
    for key, _, value in fields(data):
        if key == tag(1):
            name = text(value)
        elif key == tag(2):
            localities.append(value)
        elif key == tag(4):
            seconds = min(duration(value), MAX_SECONDS)
    for locality in localities:
        for key, _, value in fields(locality):
            if key == tag(7):
                _endpoint(name, value, loads)
    return seconds


def _endpoint(cluster: str, data: memoryview, loads: dict[Endpoint, Load]) -> None:
    """An ``UpstreamEndpointStats``; one that names no IP address and port is left out."""
    numbers = {tag(number, VARINT): 0 for number in (2, 3, 4)}
    host, port = "", 0
    for key, number, value in fields(data):
        if key == tag(1):
            host, port = socket_address(value)
        elif key in numbers:
            numbers[key] = number
    succeeded, in_progress, failed = numbers.values()
    if not host:
        return
    if len(loads) >= MAX_ENDPOINTS:
        raise ProtocolError(
            "RESOURCE_EXHAUSTED", f"a load report of over {MAX_ENDPOINTS} endpoints"
        )
    at = Endpoint(pool_of(cluster), host, port)
    # A replica is in a cluster for each class, and in two localities for the time of a tier move.
    known = loads.get(at, Load(0, 0, 0))
    loads[at] = known.plus(Load(succeeded, failed, in_progress), class_of(cluster))
