"""How long pushes take: from the notice of a change to the last acknowledgement, and to the wire.

The xDS server tells when it begins to send a catalog, to which streams, and when each has it.
"""

import time
from collections.abc import Callable, Hashable, Iterable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.xds import Event, PushLatency, Sent

# Seconds: Envoy acknowledges within some 20 ms; a client that reads nothing is cut off after 20 s.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Pushes(Collector):
    """Measures every push; all methods are cheap and raise nothing."""

    def __init__(
        self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with nothing under way.

        Args:
            registry: Gets the metrics.
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._convergence: PushLatency[Hashable] = PushLatency()
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
        """A stream has ended."""
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
