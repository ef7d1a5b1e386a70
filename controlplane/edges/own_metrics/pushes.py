"""How long pushes take: from the notice of a change to the last acknowledgement, and to the wire.

Who decides tells when it hands a catalog over; the xDS server which streams must be sent something
for it, and how far each has come.
"""

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.xds.convergence import Convergence

# Seconds: Envoy acknowledges within some 20 ms; a client that reads nothing is cut off after 20 s.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class _Handed:
    """Seconds of the clock."""

    noticed_at: float
    at: float


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
        self._convergence: Convergence[Hashable] = Convergence()
        self._handed: _Handed | None = None
        self._under_way = _Handed(0.0, 0.0)
        self._converged = Histogram(
            "plimsoll_xds_convergence_seconds",
            "From the notice of a change until all clients connected then have acknowledged it.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._pushed = Histogram(
            "plimsoll_xds_push_seconds",
            "From the catalog's arrival at the xDS server until a response is written.",
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def handed(self, noticed_at: float) -> None:
        """A catalog is handed to the xDS server.

        Args:
            noticed_at: When what led to it was noticed, in seconds of the clock.
        """
        # A catalog that was never taken up has waited for as long as the first of its kind.
        self._handed = self._handed or _Handed(noticed_at, self._clock())

    def begun(self, revision: int, streams: Iterable[Hashable]) -> None:
        """The xDS server has taken the newest catalog up.

        Args:
            revision: Of the catalog; greater than that of the last one.
            streams: Those that must be sent something because of it.
        """
        if self._handed is not None:
            self._under_way, self._handed = self._handed, None
            self._convergence.begin(revision, streams, self._under_way.noticed_at)

    def written(self, stream: Hashable, revision: int) -> None:
        """A response of this revision was written to a stream."""
        # A client that came after the catalog is late, not the catalog. And what an older one
        # still waits for is its client, which shows in the convergence.
        if self._convergence.concerns(stream, revision):
            self._pushed.observe(self._clock() - self._under_way.at)

    def settled(self, stream: Hashable, revision: int) -> None:
        """A stream holds, or has rejected, all that it should have up to a revision."""
        self._observe(self._convergence.settled(stream, revision, self._clock()))

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
