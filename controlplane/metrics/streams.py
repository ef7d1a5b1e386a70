"""What happens on the streams of all clients together, and how long pushes to them take."""

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.xds import (
    FAULT,
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    PushLatency,
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

_NUMBERS: Final = {
    "streams": "Streams that are open.",
    "nodes": "Clients that are connected, Envoys above all.",
    "nodes_rejecting": (
        "Clients that have rejected a resource, and not accepted another version since."
    ),
    "queue_depth": "Streams that have something waiting to be sent.",
    "istiods": "Replicas of istiod that are connected.",
}

# Seconds: Envoy acknowledges within some 20 ms; a client that reads nothing is cut off after 20 s.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class StreamMetrics:
    """Counts what happens on streams; what `show` is given is asked at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
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

    def show(self, **values: Callable[[], int]) -> None:
        """Report numbers under the names in `_NUMBERS`."""
        for name, value in values.items():
            gauge = Gauge(f"plimsoll_xds_{name}", _NUMBERS[name], registry=self._registry)
            gauge.set_function(value)


def _short(type_url: str) -> str:
    return _SHORT.get(type_url.rpartition(".")[2], _OTHER)


def _cause(reason: str) -> str:
    if not reason:
        return _LEFT
    return next((cause for start, cause in _CAUSES if reason.startswith(start)), _REFUSED)


class Pushes(Collector):
    """Measures every push, from the notice of a change to the last acknowledgement.

    The xDS server tells when it begins to send a catalog, to which streams, and when each has it.
    All methods are cheap and raise nothing.
    """

    def __init__(
        self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._convergence = PushLatency()
        self._revision = 0
        self._begun_at = 0.0
        self._converged = Histogram(
            "plimsoll_xds_convergence_seconds",
            "From the notice of a change until all clients connected then have acknowledged it.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._pushed = Histogram(
            "plimsoll_xds_push_seconds",
            "From the moment the xDS server has a new catalog until a response of it is written.",
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def begun(self, streams: Iterable[Hashable], noticed_at: float) -> None:
        """The xDS server begins to send a new catalog.

        Args:
            streams: Those that may have to be sent something because of it; each is looked at
                after this, and settles at once if there is nothing.
            noticed_at: When what led to the catalog was noticed, in seconds of the clock.
        """
        self._revision += 1
        self._begun_at = self._clock()
        self._convergence.begin(self._revision, streams, noticed_at)

    def writing(self, stream: Hashable, node: str, event: Sent) -> None:
        """A response is about to be written; it counts once it is."""

    def happened(self, stream: Hashable, node: str, event: Event) -> None:  # noqa: ARG002
        """Something has happened on a stream; a response is of the newest catalog."""
        # A client that came after the catalog is late, not the catalog.
        if isinstance(event, Sent) and self._convergence.concerns(stream, self._revision):
            self._pushed.observe(self._clock() - self._begun_at)

    def settled(self, stream: Hashable) -> None:
        """A stream holds, or has rejected, all that it should have of the newest catalog."""
        self._observe(self._convergence.settled(stream, self._revision, self._clock()))

    def gone(self, stream: Hashable) -> None:
        self._observe(self._convergence.gone(stream, self._clock()))

    def collect(self) -> Iterable[Metric]:
        """What is under way, which no histogram of what is complete can show."""
        yield GaugeMetricFamily(
            "plimsoll_xds_oldest_change_seconds",
            "Since the notice of the oldest change that some client has not answered for.",
            value=self._convergence.oldest(self._clock()),
        )
        yield GaugeMetricFamily(
            "plimsoll_xds_streams_behind",
            "Streams that have not answered for every change.",
            value=self._convergence.streams_behind,
        )
        yield CounterMetricFamily(
            "plimsoll_xds_changes_given_up",
            "Changes that some client did not answer for while 64 more came.",
            value=self._convergence.given_up,
        )

    def _observe(self, durations: Iterable[float]) -> None:
        for seconds in durations:
            self._converged.observe(seconds)
