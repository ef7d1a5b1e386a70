"""Access logs as they go over the wire: of an Envoy's entries in, what balancing wants of them out.

An entry tells of one request. Only the few fields that matter are read, and only of as many entries
as the caller has use for: Envoys see more requests than a control plane could look at.
Field numbers are those of envoy/service/accesslog/v3/als.proto and
envoy/data/accesslog/v3/accesslog.proto.
"""

from dataclasses import dataclass
from typing import Final

from controlplane.resources.classes import class_of, pool_of
from controlplane.resources.encoding import VARINT, tag
from controlplane.signals.sizes import Sample
from controlplane.xds.node import Node, decode_node
from controlplane.xds.wire import duration, fields, socket_address, text

MAX_SECONDS: Final = 86_400.0
"""A request that lasts longer counts as one that lasts so long."""
MAX_NAME: Final = 256
"""Characters of a cluster's or a host's name; whoever has a longer one is nobody we know."""


@dataclass(frozen=True, slots=True)
class AccessLogs:
    """A ``StreamAccessLogsMessage``.

    Attributes:
        node: Who sends it; None unless it was to be read.
        samples: What was looked at, without requests that were sent to no cluster.
        looked: How many entries were looked at.
    """

    node: Node | None
    samples: tuple[Sample, ...]
    looked: int


def decode_access_logs(data: bytes, *, first: bool, most: int) -> AccessLogs:
    """Decode a ``StreamAccessLogsMessage``.

    Args:
        data: The message.
        first: Whether its node matters; Envoy sends it once in a stream.
        most: Entries to look at; those that come after them are not even split into fields.

    Raises:
        ProtocolError: When the bytes that were looked at are no such message.
    """
    node, looked = None, 0
    samples: list[Sample] = []
    for key, _, value in fields(memoryview(data)):
        if key == tag(1) and first:
            node = _node(value)
        elif key == tag(2):
            for inner, _, entry in fields(value):
                if inner != tag(1):
                    continue
                if looked == most:
                    break
                looked += 1
                if sample := _entry(entry):
                    samples.append(sample)
    return AccessLogs(node, tuple(samples), looked)


def _node(identifier: memoryview) -> Node | None:
    node = None
    for key, _, value in fields(identifier):
        if key == tag(1):
            node = decode_node(value)
    return node


def _entry(data: memoryview) -> Sample | None:
    """An ``HTTPAccessLogEntry``; None of a request that was sent to no cluster."""
    cluster, host, port, seconds = "", "", 0, 0.0
    size = status = 0
    for key, _, value in fields(data):
        if key == tag(1):
            cluster, host, port, seconds = _common(value)
        elif key == tag(3):
            for part, number, _ in fields(value):
                if part == tag(12, VARINT):
                    size = number
        elif key == tag(4):
            for part, _, inner in fields(value):
                if part == tag(1):
                    status = sum(it for key, it, _ in fields(inner) if key == tag(1, VARINT))
    if not cluster or len(cluster) > MAX_NAME or len(host) > MAX_NAME:
        return None
    return Sample(pool_of(cluster), class_of(cluster), host, port, size, seconds, status)


def _common(data: memoryview) -> tuple[str, str, int, float]:
    """An ``AccessLogCommon``: cluster, host, port and seconds."""
    cluster, host, port, seconds = "", "", 0, 0.0
    for key, _, value in fields(data):
        if key == tag(13):
            host, port = socket_address(value)
        elif key == tag(15):
            cluster = text(value)
        elif key == tag(23):
            seconds = min(duration(value), MAX_SECONDS)
    return cluster, host, port, seconds
