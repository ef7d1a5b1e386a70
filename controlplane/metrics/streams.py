"""Counts what happens on the streams of all clients together, never of one of them."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from controlplane.xds import (
    FAULT,
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    Refused,
    Rejected,
    Sent,
    Unserved,
)

_SHORT: Final = {
    "Cluster": "cds",
    "ClusterLoadAssignment": "eds",
    "Listener": "lds",
    "RouteConfiguration": "rds",
    "Secret": "sds",
}
_OTHER: Final = "other"

_CAUSES: Final = (
    ("the server is shutting down", "shutdown"),
    ("the client read nothing", "stalled"),
    (FAULT, "internal_error"),
)
"""How the reasons of `Disconnected` begin; every other one names what the client did wrong."""
_LEFT: Final = "left"
_REFUSED: Final = "refused"


class StreamMetrics:
    """Metrics of the xDS server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Start at nought."""
        self._registry = registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"plimsoll_xds_{name}", text, labels, registry=registry)

        self._connections = counter("connections", "Clients that introduced themselves.")
        self._disconnections = counter("disconnections", "Streams that ended.", "reason")
        self._responses = counter("responses", "Responses written.", "type")
        self._bytes = counter("sent_bytes", "Bytes of the responses written.", "type")
        self._acknowledged = counter("acknowledgements", "Responses accepted.", "type")
        self._rejections = counter("rejections", "Responses rejected by a client.", "type")
        self._unserved = counter("unserved", "Requests for types that are not served.")
        self._refusals = counter("refusals", "Streams of clients that were not admitted.")
        # A counter that appears with its first count has no increase that a rate could show.
        for reason in (_LEFT, _REFUSED, *(cause for _, cause in _CAUSES)):
            self._disconnections.labels(reason)
        for by_type in (self._responses, self._bytes, self._acknowledged, self._rejections):
            for short in (*_SHORT.values(), _OTHER):
                by_type.labels(short)

    def observe(self, event: Event) -> None:
        """Count an event."""
        match event:
            case Connected():
                self._connections.inc()
            case Sent():
                self._responses.labels(_short(event.type_url)).inc()
                self._bytes.labels(_short(event.type_url)).inc(event.size)
            case Acknowledged():
                self._acknowledged.labels(_short(event.type_url)).inc()
            case Rejected():
                self._rejections.labels(_short(event.type_url)).inc()
            case Unserved():
                self._unserved.inc()
            case Refused():
                self._refusals.inc()
            case Disconnected():
                self._disconnections.labels(_cause(event.reason)).inc()

    def show_streams(self, count: Callable[[], int]) -> None:
        """Report how many streams are open.

        Args:
            count: Asked at each scrape.
        """
        self._gauge("streams", "Streams that are open.", count)

    def show_nodes(self, connected: Callable[[], int], rejecting: Callable[[], int]) -> None:
        """Report how many clients are connected, and how many have rejected what they were sent.

        Args:
            connected: Asked at each scrape.
            rejecting: Asked at each scrape.
        """
        self._gauge("nodes", "Clients that are connected, Envoys above all.", connected)
        self._gauge(
            "nodes_rejecting",
            "Clients that have rejected a resource, and not accepted another version since.",
            rejecting,
        )

    def show_queue(self, depth: Callable[[], int]) -> None:
        """Report how many streams have something waiting to be sent.

        Args:
            depth: Asked at each scrape.
        """
        self._gauge("queue_depth", "Streams that have something waiting to be sent.", depth)

    def show_istiods(self, count: Callable[[], int]) -> None:
        """Report how many istiods are connected.

        Args:
            count: Asked at each scrape.
        """
        self._gauge("istiods", "Replicas of istiod that are connected.", count)

    def _gauge(self, name: str, text: str, value: Callable[[], int]) -> None:
        Gauge(f"plimsoll_xds_{name}", text, registry=self._registry).set_function(value)


def _short(type_url: str) -> str:
    return _SHORT.get(type_url.rpartition(".")[2], _OTHER)


def _cause(reason: str) -> str:
    if not reason:
        return _LEFT
    return next((cause for start, cause in _CAUSES if reason.startswith(start)), _REFUSED)
