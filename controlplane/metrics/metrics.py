"""All metrics of one control plane, in a registry of their own."""

import asyncio
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from controlplane import __version__
from controlplane.identity import Credentials, read_certificate
from controlplane.metrics.fleet import fleet_families
from controlplane.metrics.pools import source_families
from controlplane.metrics.streams import Pushes, StreamMetrics
from controlplane.plane import Plane
from controlplane.turns import result_in_turns

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text"
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")

# Seconds; a decision on a thousand replicas takes some tenths of one.
_DECISION_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LOOK_AT_LOOP: Final = 0.5
"""Seconds between two looks at the event loop."""


class OwnMetrics:
    """What the control plane tells of itself; `clock` is that of the plane.

    Attributes:
        config_file: Takes why the config file cannot be used; None if it can.
        token_file: Takes why the token file cannot be used; None if it can.
    """

    def __init__(self, plane: Plane, *, clock: Callable[[], float] = time.monotonic) -> None:
        # The times at which counters began would be as many series again, and no rate needs them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._plane, self._clock = plane, clock
        self._registry = registry = CollectorRegistry()
        self.streams = StreamMetrics(registry)
        self.pushes = Pushes(registry, clock=clock)
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
        self.config_file = self._problem(
            "config_file_problem",
            "1 while the config file is invalid or contradicts the API; the previous one applies.",
        )
        self.token_file = self._problem(
            "token_file_problem",
            "1 while the token file is invalid or cannot be read; the previous one applies.",
        )
        self._certificates = self._gauge(
            "certificate_problem",
            "1 while the files of a certificate cannot be used; the previous ones apply.",
            "server",
        )
        for server in ("xds", "admin", "istio", "ca"):
            self._certificates.labels(server)
        self._start = self._gauge(
            "certificate_start_timestamp_seconds",
            "When a certificate of the control plane begins, in seconds since 1970.",
            "certificate",
        )
        self._expiry = self._gauge(
            "certificate_expiry_timestamp_seconds",
            "When a certificate of the control plane ends, in seconds since 1970.",
            "certificate",
        )
        self._lag = Histogram(
            "plimsoll_event_loop_lag_seconds",
            "How late the event loop is.",
            buckets=_LAG_BUCKETS,
            registry=registry,
        )
        build = self._gauge(
            "build_info", "1, with the versions of Plimsoll and of Python.", "version", "python"
        )
        build.labels(__version__, platform.python_version()).set(1)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"plimsoll_{name}", text, labels, registry=self._registry)

    def _problem(self, name: str, text: str) -> Callable[[str | None], None]:
        gauge = self._gauge(name, text)
        return lambda problem: gauge.set(problem is not None)

    def scraped(self, ok: bool) -> None:  # noqa: FBT001 - the one thing that a scrape has to tell
        (self._good if ok else self._failed).inc()

    def certificates(self, server: str) -> Callable[[str | None], None]:
        """What takes in why files of certificates cannot be used; None if they can."""
        gauge = self._certificates.labels(server)
        return lambda problem: gauge.set(problem is not None)

    def certificate(self, name: str, validity: Callable[[], tuple[float, float]]) -> None:
        """Report when a certificate begins and ends, in seconds since 1970, asked at each scrape.

        Names are `xds`, `admin`, `istio` and `ca`.
        """
        self._start.labels(name).set_function(lambda: validity()[0])
        self._expiry.labels(name).set_function(lambda: validity()[1])

    def following(
        self, server: str, credentials: Credentials, accept: Callable[[Credentials], None]
    ) -> Callable[[Credentials], None]:
        """Report on the certificate of a server, now and when it has another one.

        `accept` has it serve with others; what is returned does the same.
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

    def decision_took(self, seconds: float) -> None:
        """Take in how long a decision took."""
        self._decision.observe(seconds)

    def show_store(
        self,
        is_up: Callable[[], bool],
        writes: Callable[[], Mapping[str, int]],
        is_lost: Callable[[], bool],
        waiting: Callable[[], int],
    ) -> None:
        """Report how writing to the database goes, asked at each scrape.

        `is_up`: the last write worked; `is_lost`: something was lost that may not be known again.
        """
        self._gauge(
            "store_up",
            "1 while the database can be written; 0: changes are refused, all else goes on.",
        ).set_function(lambda: float(is_up()))
        self._gauge(
            "store_lost",
            "1 while Envoys keep what they hold, as replicas may be missing from the database.",
        ).set_function(lambda: float(is_lost()))
        self._gauge(
            "store_queue_depth", "Changes that wait to be written to the database."
        ).set_function(waiting)
        self._registry.register(_Writes(writes))

    async def page(self, accept: str) -> tuple[bytes, str]:
        """Everything, as Prometheus reads it, for the header ``Accept`` of a request.

        Returns:
            The text and its content type: OpenMetrics when that is accepted, or else the
            Prometheus text format 0.0.4.
        """
        families = await result_in_turns(fleet_families(self._plane, self._clock()))
        families += source_families(self._plane, self._clock())
        collected = _Collected([*families, *self._registry.collect()])
        return await asyncio.to_thread(_written, collected, accept)


class _Writes(Collector):
    def __init__(self, writes: Callable[[], Mapping[str, int]]) -> None:
        self._writes = writes

    def collect(self) -> Iterable[Metric]:
        writes = CounterMetricFamily(
            "plimsoll_store_writes", "Writes to the database, by how they ended.", labels=["result"]
        )
        for result, count in self._writes().items():
            writes.add_metric((result,), count)
        return (writes,)


class _Collected(CollectorRegistry):
    """Metrics as they were at one moment, to be written in another thread."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _written(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    if wants_openmetrics(accept):
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        return text, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry), _TEXT


def wants_openmetrics(accept: str) -> bool:
    """Whether a header ``Accept`` names OpenMetrics and prefers no other type (RFC 9110, 12.5.1).

    A type without a weight, or with a malformed one, has the weight 1; 0 refuses the type.
    """
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = (each.strip() for each in part.split(";"))
        given = next((each[2:] for each in parameters if each.startswith("q=")), "")
        weight = float(given) if _WEIGHT.fullmatch(given) else 1.0
        weights[kind] = max(weight, weights.get(kind, 0.0))
    weight = weights.get(_OPENMETRICS, 0.0)
    return weight > 0 and weight >= weights.get("text/plain", 0.0)
