"""Hands what clients of the xDS server report to the plane, each with the time.

The server knows no plane and no clock; the plane knows no server.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from controlplane.balancing import Place
from controlplane.latest import Notice
from controlplane.plane import Plane
from controlplane.resources.health_checks import HealthTarget
from controlplane.resources.views import View
from controlplane.telemetry.load import Endpoint
from controlplane.telemetry.sizes import Sample
from controlplane.turns import Turns, in_turns
from controlplane.xds import LoadStats


class Loads:
    """Hands load reports to the plane."""

    def __init__(self, plane: Plane, woken: Notice) -> None:
        """Prepare; `woken` is set when there is something to decide by."""
        self._plane = plane
        self._woken = woken
        self._leaving: set[asyncio.Task[float]] = set()

    def came(self, reporter: object, node: str, place: Place) -> None:
        """Note that an Envoy begins to report load."""
        self._plane.reporter_came(reporter, place)
        self._plane.senders.came(reporter, node, time.monotonic())

    async def reported(self, reporter: object, stats: LoadStats) -> None:
        """Take in a load report, in turns with other work."""
        turns, now = Turns(), time.monotonic()
        loads = self._plane.by_replica(stats.localities) | stats.loads
        for _ in self._plane.reporting(reporter, loads, stats.seconds, now):
            await turns.give_way()
        self._plane.unserved(stats.unserved, now)
        self._plane.senders.reported(reporter, loads, now)
        if loads:
            self._woken.set()

    def left(self, reporter: object) -> None:
        """Note that an Envoy reports load no longer, in turns with other work."""
        self._plane.senders.left(reporter)
        leaving = in_turns(self._plane.reporter_leaving(reporter, time.monotonic()))
        task = asyncio.create_task(leaving, name="an Envoy no longer reports")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


class Health:
    """Hands what Envoys see of the health of replicas to the plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def to_check(
        self, node: str, view: View, known: tuple[HealthTarget, ...]
    ) -> tuple[HealthTarget, ...]:
        """Return the replicas whose health an Envoy is asked for."""
        return self._plane.to_check(node, view, known)

    def health_seen(self, reporter: object, node: str, healthy: Mapping[Endpoint, bool]) -> None:
        """Take in which replicas an Envoy sees as healthy."""
        self._plane.envoy_health.seen(reporter, node, healthy, time.monotonic())

    def health_left(self, reporter: object) -> None:
        """Note that an Envoy reports health no longer."""
        self._plane.envoy_health.left(reporter)


class Samples:
    """Hands what Envoys tell of some requests to the plane, which looks when it decides."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def sampled(self, samples: Sequence[Sample], place: Place) -> None:
        """Take in requests of an Envoy."""
        self._plane.sampled(samples, time.monotonic(), place)


class Scaling:
    """Answers KEDA from the plane."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def wanted(self, pool: str) -> int | None:
        """Return how many replicas a pool should have; None: there is no such pool."""
        if pool not in self._plane.fleet.pools:
            return None
        return self._plane.recommendation(pool, time.monotonic()).replicas

    def is_active(self, pool: str) -> bool | None:
        """Return whether a pool needs replicas at all; None: there is no such pool."""
        if pool not in self._plane.fleet.pools:
            return None
        return self._plane.is_active(pool, time.monotonic())
