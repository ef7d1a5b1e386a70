"""One repetition: what is done to a control plane of each size, one thing after the other."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.registry.api import Request, all_asked, connections
from benchmarks.registry.commits import commits
from benchmarks.registry.fleet import Layout, pool_name, replica_id, settings
from benchmarks.registry.follower import Follower, following
from benchmarks.registry.served import Plane, cpu_of, served
from controlplane.tools.load.record import nearest_rank

Figures = dict[str, float]
"""Values by name, with their unit in it."""

BATCH: Final = 1_000
"""Replicas in one request; the API takes no more."""

WRITERS: Final = 8
"""Connections on which replicas are registered one by one, or send heartbeats."""

BEATS: Final = 1_000.0
"""Heartbeats per second: of 10,000 replicas with a ttl of 30 s, three in each."""

QUIET: Final = 3.0
"""Seconds without a word to Envoys after which a control plane is at rest."""

RESTING: Final = 0.02
"""Of a core, that a control plane takes at most while there is nothing to do."""

UNREST: Final = 120.0
"""Seconds after which it is measured all the same."""

WINDOW: Final = 2.0
"""Seconds over which the CPU of one change is counted; after a long decision the next one waits."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run.

    Attributes:
        replicas: Of the large fleets.
        pools: That they are dealt out to, where it is not one.
        few: Replicas of the small fleet.
        changes: Of one replica, in each fleet.
        joining: Seconds after which the slow start of one that joins is over; it takes 10.
        beating: Seconds of heartbeats.
        commits: Of bare sqlite3.
        repetitions: Of everything.
    """

    replicas: int
    pools: int
    few: int
    changes: int
    joining: float
    beating: float
    commits: int
    repetitions: int

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """The fleets, the small one first."""
        return Layout(1, self.few), Layout(self.pools, self.replicas), Layout(1, self.replicas)


@dataclass(frozen=True, slots=True)
class Stage:
    """What all fleets share.

    Attributes:
        plan: How much is run.
        replicas: The port at which replicas are healthy.
        folder: For files.
        told: Called with what begins.
        chance: Says which replica changes.
    """

    plan: Plan
    replicas: int
    folder: Path
    told: Callable[[str], None]
    chance: random.Random

    async def empty(self) -> Figures:
        """Start without anything, and again with what that left."""
        self.told("an empty start")
        layout = Layout(self.plan.pools, 0)
        for _ in range(2):
            async with served(layout, self._made("empty")) as plane:
                figures = _started("restart", plane) | {"RSS, MB": plane.rss / 1e6}
        return figures

    async def one_by_one(self) -> Figures:
        """Register all replicas one by one, first on one connection, then on several."""
        layout = Layout(self.plan.pools, self.plan.replicas)
        self.told(f"{layout}, registered one by one")
        puts: list[Request] = [
            (
                "PUT",
                f"/v1/pools/{layout.pool_of(number)}/replicas/{replica_id(number)}",
                settings(number, self.replicas),
            )
            for number in range(layout.replicas)
        ]
        alone, together = puts[: len(puts) // 20], puts[len(puts) // 20 :]
        async with served(layout, self._made("one by one")) as plane:
            figures = await _timed("one connection", plane, 1, alone)
            return figures | await _timed(f"{WRITERS} connections", plane, WRITERS, together)

    def bare(self) -> Figures:
        """Commit as many rows with nothing but sqlite3."""
        self.told("bare sqlite3")
        figures: Figures = {}
        for together, count in ((1, self.plan.commits), (BATCH, max(self.plan.commits // 100, 3))):
            took = commits(self.folder, count, together)
            name = f"{together} a commit"
            figures |= _latencies(name, took)
            figures[f"{name}: rows per second"] = together * len(took) * 1000 / sum(took)
        return figures

    async def fleet(self, layout: Layout) -> Figures:
        """Register all at once, change one and another, have them send heartbeats, and restart."""
        folder = self._made(str(layout))
        pools = [pool_name(number) for number in range(layout.pools)]
        async with served(layout, folder) as plane:
            before = plane.rss
            async with following(plane.xds, pools) as follower:
                self.told(f"{layout}, registered in batches")
                figures = await self._batches(layout, plane, follower)
                grown = (plane.rss - before) / 1e6
                figures["RSS, MB"] = plane.rss / 1e6
                figures["RSS, MB more per 1,000 replicas"] = 1000 * grown / layout.replicas
                self.told(f"{layout}, changes of one replica")
                figures |= await self._changes(layout, plane, follower)
                figures |= await self._joins(layout, plane, follower)
                if layout.replicas > self.plan.few:
                    self.told(f"{layout}, heartbeats")
                    figures |= await _beats(layout, plane, self.plan.beating)
        self.told(f"{layout}, restarted")
        async with served(layout, folder) as plane, following(plane.xds, pools) as follower:
            figures |= _started("restart", plane)
            await follower.quiet(QUIET)
            figures["restart: RSS, MB"] = plane.rss / 1e6
        return figures

    async def _batches(self, layout: Layout, plane: Plane, follower: Follower) -> Figures:
        puts: list[Request] = [
            ("PUT", f"/v1/pools/{pool}/replicas", {"replicas": batch})
            for pool, batch in layout.batches(self.replicas, BATCH)
        ]
        begun, cpu = time.monotonic(), cpu_of(plane.pid)
        async with connections(plane.admin, 1) as open_ones:
            took = await all_asked(open_ones, puts)
        wrote = time.monotonic() - begun
        await follower.quiet(QUIET)
        return {
            "batched: replicas per second": layout.replicas / wrote,
            **_latencies("batched", took),
            "until Envoys know all, s": await follower.told(0.0) - begun,
            "CPU until then, s": cpu_of(plane.pid) - cpu,
        }

    async def _changes(self, layout: Layout, plane: Plane, follower: Follower) -> Figures:
        """Drain and undrain replicas in turn, each long after the one before."""
        rested = await _at_rest(plane)
        acknowledged, told, cpu, idle = [], [], [], []
        for change in range(self.plan.changes):
            if change % 2 == 0:
                number = self.chance.randrange(layout.replicas)
            verb = "undrain" if change % 2 else "drain"
            # Right before each: now and then all that is known is written down.
            idle.append(await _cores(plane, WINDOW))
            async with connections(plane.admin, 1) as (connection,):
                begun, spent = time.monotonic(), cpu_of(plane.pid)
                acknowledged.append(await connection.ask(_act(layout, number, verb)))
            told.append(1000 * (await follower.told(begun) - begun))
            await asyncio.sleep(max(begun + WINDOW - time.monotonic(), WINDOW / 2))
            over = time.monotonic() - begun
            cpu.append(1000 * (cpu_of(plane.pid) - spent - idle[-1] * over))
        return {
            "at rest after, s": rested,
            "idle, of one core": median(idle),
            "one change: acknowledged, ms": median(acknowledged),
            "one change: an Envoy has it, ms": median(told),
            "one change: at most, ms": max(told),
            "one change: CPU, ms": median(cpu),
            "one change: kB to an Envoy": follower.bytes / 1000,
        }

    async def _joins(self, layout: Layout, plane: Plane, follower: Follower) -> Figures:
        """Register one more, and wait until its slow start is over."""
        number = layout.replicas
        path = f"/v1/pools/{layout.pool_of(number - 1)}/replicas/{replica_id(number)}"
        idle = await _cores(plane, self.plan.joining)
        async with connections(plane.admin, 1) as (connection,):
            begun, spent = time.monotonic(), cpu_of(plane.pid)
            await connection.ask(("PUT", path, settings(number, self.replicas)))
        told = await follower.told(begun) - begun
        await asyncio.sleep(begun + self.plan.joining - time.monotonic())
        over = time.monotonic() - begun
        return {
            "one joins: an Envoy has it, ms": 1000 * told,
            "one joins: CPU, ms": 1000 * (cpu_of(plane.pid) - spent - idle * over),
        }

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder


async def _beats(layout: Layout, plane: Plane, seconds: float) -> Figures:
    count = int(seconds * BEATS)
    beats = [_act(layout, number % layout.replicas, "heartbeat") for number in range(count)]
    begun, cpu = time.monotonic(), cpu_of(plane.pid)
    async with connections(plane.admin, WRITERS) as open_ones:
        took = await all_asked(open_ones, beats, BEATS)
    over, cpu = time.monotonic() - begun, cpu_of(plane.pid) - cpu
    return {
        "heartbeats per second": count / over,
        "heartbeats: of one core": cpu / over,
        "heartbeats: CPU of each, µs": 1e6 * cpu / count,
        **_latencies("heartbeats", took),
    }


def _act(layout: Layout, number: int, verb: str) -> Request:
    path = f"/v1/pools/{layout.pool_of(number)}/replicas/{replica_id(number)}/{verb}"
    return ("POST", path, None)


async def _timed(name: str, plane: Plane, count: int, requests: Sequence[Request]) -> Figures:
    begun, cpu = time.monotonic(), cpu_of(plane.pid)
    async with connections(plane.admin, count) as open_ones:
        took = await all_asked(open_ones, requests)
    over = time.monotonic() - begun
    return {
        f"{name}: writes per second": len(requests) / over,
        **_latencies(name, took),
        f"{name}: CPU of each, µs": 1e6 * (cpu_of(plane.pid) - cpu) / len(requests),
    }


def _latencies(name: str, took: Sequence[float]) -> Figures:
    return {
        f"{name}: p50, ms": nearest_rank(sorted(took), 0.5),
        f"{name}: p99, ms": nearest_rank(sorted(took), 0.99),
    }


def _started(name: str, plane: Plane) -> Figures:
    return {f"{name}: ready after, s": plane.ready, f"{name}: CPU, s": plane.ready_cpu}


async def _at_rest(plane: Plane) -> float:
    """Seconds until it has nothing to do: replicas that joined were asked, and start slowly."""
    begun = time.monotonic()
    while time.monotonic() - begun < UNREST and await _cores(plane, QUIET) > RESTING:
        pass
    return time.monotonic() - begun


async def _cores(plane: Plane, seconds: float) -> float:
    """What a control plane takes of a core while nothing happens."""
    begun, cpu = time.monotonic(), cpu_of(plane.pid)
    await asyncio.sleep(seconds)
    return (cpu_of(plane.pid) - cpu) / (time.monotonic() - begun)
