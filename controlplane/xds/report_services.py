"""The services to which Envoys report: load (LRS), health of replicas (HDS), requests (ALS)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import grpc

from controlplane.balancing import Place
from controlplane.identity import Identity
from controlplane.resources.health_checks import HealthTarget, health_check_specifier
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint, report_interval
from controlplane.telemetry.sizes import Sample
from controlplane.xds.authentication import Authenticator, Limit
from controlplane.xds.connection import Context, Methods, read
from controlplane.xds.node import admit
from controlplane.xds.reports import (
    LoadStats,
    decode_access_logs,
    decode_health_report,
    decode_load_stats,
    encode_load_stats_response,
)

LOAD_REPORTING: Final = "envoy.service.load_stats.v3.LoadReportingService"

INTERVAL_OFF: Final = 2.0
"""Factor by which an interval must be off before an Envoy is asked anew."""


class LoadSink(Protocol):
    """Where reports go; no method may raise, or keep the event loop."""

    def came(self, reporter: object, node: str, place: Place) -> None:
        """The Envoy of a node, which runs there, is about to report."""

    async def reported(self, reporter: object, stats: LoadStats) -> None:
        """Take in a report; `reporter` is one object for all reports of a stream."""

    def left(self, reporter: object) -> None:
        """The reporter has gone."""


class LoadReportingService:
    """Asks every Envoy that comes for reports, and hands them on."""

    name = LOAD_REPORTING

    def __init__(self, sink: LoadSink, authenticator: Authenticator) -> None:
        self._sink, self._authenticator = sink, authenticator
        self._reporters: set[object] = set()

    def methods(self) -> Methods:
        """Its method."""
        return {"StreamLoadStats": grpc.stream_stream_rpc_method_handler(self._stream)}

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        reporter = object()
        async with self._authenticator.call(context) as identity:
            try:
                messages = self._authenticator.admitted(requests, context, identity)
                await self._read(reporter, messages, identity, context)
            finally:
                self._reporters.discard(reporter)
                self._sink.left(reporter)

    async def _read(
        self,
        reporter: object,
        messages: AsyncIterator[bytes],
        identity: Identity | None,
        context: Context,
    ) -> None:
        asked, view = 0.0, View()
        async for data in messages:
            first = reporter not in self._reporters
            stats = await read(data, partial(decode_load_stats, first=first))
            if first:
                node, view = admit(stats.node, identity)
                self._sink.came(reporter, node.id, view.place)
                self._reporters.add(reporter)
            stats = stats.within(view)
            wanted = report_interval(len(self._reporters), len(stats.loads) + len(stats.localities))
            if first or not asked / INTERVAL_OFF < wanted < asked * INTERVAL_OFF:
                asked = wanted
                await context.write(encode_load_stats_response(asked))
            await self._sink.reported(reporter, stats)


HEALTH_DISCOVERY: Final = "envoy.service.health.v3.HealthDiscoveryService"

HEALTH_LOOK: Final = 5.0
"""Seconds between two looks at what an Envoy is to check."""

MAX_HEALTH_STREAMS: Final = 10_000
"""Open at a time; more are refused."""


class HealthSink(Protocol):
    """Chooses replicas to check, and takes the results; no method may block or raise."""

    def to_check(
        self, node: str, view: View, known: tuple[HealthTarget, ...]
    ) -> tuple[HealthTarget, ...]:
        """Return the replicas that a node is to check; it checks `known` so far."""

    def health_seen(
        self, reporter: object, node: str, healthy: Mapping[Endpoint, bool], now: float
    ) -> None:
        """Take in a report; `reporter` is one object for all reports of a stream."""

    def health_left(self, reporter: object) -> None:
        """The reporter has gone."""


class HealthReportingService:
    """Asks every Envoy that comes for checks of some replicas, and hands on what it sees."""

    name = HEALTH_DISCOVERY

    def __init__(
        self,
        sink: HealthSink,
        authenticator: Authenticator,
        clock: Callable[[], float],
    ) -> None:
        self._sink, self._authenticator, self._clock = sink, authenticator, clock
        self._limit = Limit(MAX_HEALTH_STREAMS, "reports of health")

    def methods(self) -> Methods:
        """Its method."""
        return {"StreamHealthCheck": grpc.stream_stream_rpc_method_handler(self._stream)}

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        reporter, asking, name, view = object(), None, "", View()
        async with self._authenticator.call(context) as identity:
            with self._limit.one_more():
                try:
                    async for data in self._authenticator.admitted(requests, context, identity):
                        report = await read(data, decode_health_report)
                        if asking is None:
                            node, view = admit(report.node, identity)
                            name = node.id
                            asking = asyncio.create_task(
                                self._ask(name, view, context), name="xds: health"
                            )
                            continue
                        seen = {
                            endpoint: is_healthy
                            for endpoint, is_healthy in report.healthy.items()
                            if view.shows(endpoint.pool)
                        }
                        self._sink.health_seen(reporter, name, seen, self._clock())
                finally:
                    self._sink.health_left(reporter)
                    if asking is not None:
                        asking.cancel()
                        with contextlib.suppress(asyncio.CancelledError, grpc.aio.BaseError):
                            await asking

    async def _ask(self, node: str, view: View, context: Context) -> None:
        """Send the list of checks whenever it changes, until cancelled."""
        sent: object = None
        known: tuple[HealthTarget, ...] = ()
        while True:
            known = self._sink.to_check(node, view, known)
            wanted = [
                (
                    each.pool.name,
                    each.replica.address,
                    each.pool.settings.health_check,
                    each.pool.settings.upstream,
                )
                for each in known
            ]
            if wanted != sent:
                sent = wanted
                await context.write(health_check_specifier(known))
            await asyncio.sleep(HEALTH_LOOK)


ACCESS_LOGS: Final = "envoy.service.accesslog.v3.AccessLogService"

MAX_ENTRIES: Final = 200
"""Entries that are looked at in a second, of all Envoys. The others are skipped."""

MAX_MESSAGES: Final = 200
"""That are read in a second, of all Envoys. Of the others gRPC takes no more than fit into a
stream's window, and then Envoy drops entries."""

MAX_LOGS: Final = 2_000
"""Streams at a time; each thread of an Envoy has one. More would leave none for xDS itself."""


class SampleSink(Protocol):
    """Where samples go; it may neither block nor raise."""

    def sampled(self, samples: Sequence[Sample], now: float, place: Place) -> None:
        """Take in what an Envoy that runs there tells of some requests."""


class Allowance:
    """How many entries may be looked at: so many a second, and no more than that at once."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        """Begin with the allowance of a second."""
        self._rate, self._clock = rate, clock
        self._left, self._at = rate, clock()

    @property
    def left(self) -> int:
        """How many may be looked at now."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._rate, self._rate)
        self._at = now
        return int(self._left)

    def spend(self, entries: int) -> None:
        """Note that so many were looked at."""
        self._left -= entries


class AccessLogService:
    """Reads as much of what Envoys tell as it may, and hands it on."""

    name = ACCESS_LOGS

    def __init__(
        self,
        sink: SampleSink,
        authenticator: Authenticator,
        clock: Callable[[], float],
    ) -> None:
        self._sink, self._authenticator, self._clock = sink, authenticator, clock
        self._allowance = Allowance(MAX_ENTRIES, clock)
        self._limit = Limit(MAX_LOGS, "access logs")

    def methods(self) -> Methods:
        """Its method."""
        return {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(self._stream)}

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        async with self._authenticator.call(context) as identity:
            with self._limit.one_more():
                await self._read(requests, identity, context)
        return b""

    async def _read(
        self, requests: AsyncIterator[bytes], identity: Identity | None, context: Context
    ) -> None:
        view: View | None = None
        async for data in self._authenticator.admitted(requests, context, identity):
            most = self._allowance.left
            first = view is None
            logs = await read(data, partial(decode_access_logs, first=first, most=most))
            if view is None:
                _, view = admit(logs.node, identity)
            self._allowance.spend(logs.looked)
            shows = view.shows
            if samples := tuple(sample for sample in logs.samples if shows(sample.pool)):
                self._sink.sampled(samples, self._clock(), view.place)
            await asyncio.sleep(self._limit.open / MAX_MESSAGES)
