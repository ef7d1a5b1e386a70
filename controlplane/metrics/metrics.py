"""All metrics of one control plane, in a registry of their own."""

import asyncio
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

from controlplane import __version__
from controlplane.identity import Credentials, read_certificate
from controlplane.metrics.discovery import DiscoveryCollector
from controlplane.metrics.fleet import FleetCollector
from controlplane.metrics.pushes import Pushes
from controlplane.metrics.store import StoreCollector
from controlplane.metrics.streams import StreamMetrics
from controlplane.plane import Plane
from controlplane.turns import Turns

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text"

# Seconds; a decision on a thousand replicas takes some tenths of one.
_DECISION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LOOK_AT_LOOP: Final = 0.5
"""Seconds between two looks at the event loop."""


class OwnMetrics:
    """What the control plane tells of itself.

    Attributes:
        streams: Of the xDS server's streams.
        pushes: How long changes take to reach the clients.
    """

    def __init__(self, plane: Plane, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at nought.

        Args:
            plane: Asked for pools and replicas at each scrape.
            clock: Seconds that never go back; the one of the plane.
        """
        # The times at which counters began would be as many series again, and no rate needs them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self.streams = StreamMetrics(registry)
        self.pushes = Pushes(registry, clock=clock)
        self._fleet = FleetCollector(plane, clock)
        registry.register(self._fleet)
        self._preparing = asyncio.Lock()
        registry.register(DiscoveryCollector(plane, clock))
        ProcessCollector(registry=registry)
        scrapes = Counter("plimsoll_scrapes", "Scrapes of replicas.", ["result"], registry=registry)
        # Looked up once: there may be thousands a second.
        self._good, self._failed = scrapes.labels("ok"), scrapes.labels("failed")
        self._decision = Histogram(
            "plimsoll_decision_seconds",
            "Deciding about what is new and building what Envoys should hold.",
            buckets=_DECISION_BUCKETS,
            registry=registry,
        )
        self._config_file = Gauge(
            "plimsoll_config_file_problem",
            "1 while what the config file says is not used, and what it said before still holds.",
            registry=registry,
        )
        self._token_file = Gauge(
            "plimsoll_token_file_problem",
            "1 while the token file is wrong or cannot be read, and what it last had still holds.",
            registry=registry,
        )
        self._certificates = Gauge(
            "plimsoll_certificate_problem",
            "1 while the files of a certificate cannot be used, and what was read before holds.",
            ["server"],
            registry=registry,
        )
        for server in ("xds", "admin", "istio", "ca"):
            self._certificates.labels(server)
        self._start = Gauge(
            "plimsoll_certificate_start_timestamp_seconds",
            "When a certificate of the control plane begins, in seconds since 1970.",
            ["certificate"],
            registry=registry,
        )
        self._expiry = Gauge(
            "plimsoll_certificate_expiry_timestamp_seconds",
            "When a certificate of the control plane ends, in seconds since 1970.",
            ["certificate"],
            registry=registry,
        )
        self._lag = Histogram(
            "plimsoll_event_loop_lag_seconds",
            "How late the event loop is with what is due; it does one thing at a time.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        build = Gauge(
            "plimsoll_build_info",
            "1, with the versions of Plimsoll and of Python.",
            ["version", "python"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version()).set(1)

    def scraped(self, ok: bool) -> None:  # noqa: FBT001 - the one thing that a scrape has to tell
        """Count a scrape."""
        (self._good if ok else self._failed).inc()

    def config_file(self, problem: str | None) -> None:
        """Take in why the config file cannot be used; None if it can."""
        self._config_file.set(problem is not None)

    def token_file(self, problem: str | None) -> None:
        """Take in why the token file cannot be used; None if it can."""
        self._token_file.set(problem is not None)

    def certificates(self, server: str) -> Callable[[str | None], None]:
        """What takes in why files of certificates cannot be used; None if they can."""
        gauge = self._certificates.labels(server)
        return lambda problem: gauge.set(problem is not None)

    def certificate(self, name: str, validity: Callable[[], tuple[float, float]]) -> None:
        """Report when a certificate begins and ends.

        Args:
            name: `xds`, `admin`, `istio` or `ca`.
            validity: Seconds since 1970; asked at each scrape.
        """
        self._start.labels(name).set_function(lambda: validity()[0])
        self._expiry.labels(name).set_function(lambda: validity()[1])

    def following(
        self, server: str, credentials: Credentials, accept: Callable[[Credentials], None]
    ) -> Callable[[Credentials], None]:
        """Report on the certificate of a server, now and when it has another one.

        Args:
            server: `xds`, `admin` or `istio`.
            credentials: What it serves with now.
            accept: Has it serve with others.

        Returns:
            The same as `accept`.
        """
        shown = read_certificate(credentials.certificate)
        self.certificate(server, lambda: (shown.begins, shown.expires))

        def accepted(others: Credentials) -> None:
            nonlocal shown
            accept(others)
            shown = read_certificate(others.certificate)

        return accepted

    async def watch_event_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _LOOK_AT_LOOP
            await asyncio.sleep(_LOOK_AT_LOOP)
            self._lag.observe(max(clock() - due, 0.0))

    def decided(self, seconds: float) -> None:
        """Take in how long a decision took."""
        self._decision.observe(seconds)

    def show_store(
        self,
        is_up: Callable[[], bool],
        writes: Callable[[], Mapping[str, int]],
        is_lost: Callable[[], bool],
        waiting: Callable[[], int],
    ) -> None:
        """Report how writing to the database goes.

        Args:
            is_up: Whether the last write worked; asked at each scrape.
            writes: How many there were, by how they ended; asked at each scrape.
            is_lost: Whether something was lost that may not be known again; asked at each scrape.
            waiting: How many changes wait to be written; asked at each scrape.
        """
        self._registry.register(StoreCollector(is_up, writes, is_lost, waiting))

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything, as Prometheus reads it.

        Args:
            accept: The header of the request.

        Returns:
            The text and its content type: OpenMetrics when that is accepted, or else the
            Prometheus text format 0.0.4.
        """
        return _written(self._registry, accept)

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The same, without keeping the event loop."""
        async with self._preparing:
            await self._fleet.prepare(Turns().give_way)
            collected = _Collected(list(self._registry.collect()))
        return await asyncio.to_thread(_written, collected, accept)


class _Collected(CollectorRegistry):
    """Metrics as they were at one moment, to be written in another thread."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _written(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if _OPENMETRICS in accepted:
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), _TEXT
