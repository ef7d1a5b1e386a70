"""Pools for the tests of balancing: replicas that go on serving, and decisions about them."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

from controlplane.balancing import (
    ENVOYS,
    OWN,
    Decision,
    InFlight,
    ReplicaInput,
    Table,
    ZoneInput,
    decide,
)
from controlplane.config import PoolSettings, validated
from controlplane.config.replica import MemorySettings
from controlplane.telemetry import BatchTotals, GpuMemory, Histogram, History, Reading, Window
from controlplane.telemetry.load import Failing
from controlplane.telemetry.sizes import Sizes

MANY = 10_000
"""Envoys: with so many, each replica has a queue of its own."""


def settings_of(**balancing: Any) -> PoolSettings:
    """Of a pool with some rules of balancing."""
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, "balancing": balancing}
    return validated(PoolSettings, body)


SETTINGS = settings_of()
INTERVAL = SETTINGS.metrics.interval


@dataclass(frozen=True)
class Serving:
    """What one replica does for a while.

    Attributes:
        capacity: Requests per second that it computes, one after the other.
        load: The part of that which is asked for.
        tokens: Of a request; None: nobody counts them.
        latency: Seconds of a request; None: those of an M/M/1 queue.
        failing: Part of the requests, by its own count.
        fails: How its requests ended lately by the count of Envoys; None: they had none.
        memory: Part of GPU memory in use; None: nobody says.
        queue: What waits by its own count; None: nobody counts.
        are_texts: It counts texts.
        reported: What Envoys have in flight; None: nobody counts.
        by_class: The same by class.
        looks: How often Envoys look in a second, where durations are not measured.
        batch: Tokens of each batch, and seconds that it takes; None: nothing is batched.
        texts: In each batch.
        silent: It cannot be scraped.
        ready: It may get traffic.
        ready_since: See `ReplicaInput`, as the following.
        slots: Likewise.
        generation: Likewise; another one begins new counters.
        gpu: Its UUID.
        limits: Of its memory.
    """

    capacity: float = 100.0
    load: float = 0.5
    tokens: float | None = 100.0
    latency: float | None = None
    failing: float = 0.0
    fails: Failing | None = None
    memory: float | None = None
    queue: float | None = None
    are_texts: bool = False
    reported: float | None = None
    by_class: Mapping[str, float] | None = None
    looks: float | None = None
    batch: tuple[float, float] | None = None
    texts: float = 1.0
    silent: bool = False
    ready: bool = True
    ready_since: float | None = None
    slots: int | None = 1
    generation: int = 0
    gpu: str | None = None
    limits: MemorySettings | None = None

    @property
    def rate(self) -> float:
        """Requests per second that it answers."""
        return self.load * self.capacity

    @property
    def seconds(self) -> float:
        """That each takes."""
        if self.latency is not None:
            return self.latency
        return 1 / (1 - self.load) / self.capacity


class Counters:
    """What a replica has counted since its start, as the control plane reads it."""

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.history = History()
        self.window: Window | None = None
        self.scraped_at: float | None = None
        self.requests = self.total = self.errors = self.tokens = self.looks = 0.0
        self.batches = [0.0] * len(BatchTotals._fields)

    def go_on(self, serving: Serving, seconds: float, now: float) -> None:
        """Serve for some seconds, up to now, and be scraped then."""
        requests = serving.rate * seconds if serving.ready else 0.0
        self.requests += requests
        self.total += requests * serving.seconds
        self.errors += requests * serving.failing
        self.tokens += requests * (serving.tokens or 0.0)
        self.looks += (serving.looks or 0.0) * seconds
        if serving.batch is not None:
            self._compute(requests * (serving.tokens or 0.0), serving.batch, serving.texts)
        if not serving.silent:
            self.window = self._window(serving, now)
            self.scraped_at = now

    def _compute(self, tokens: float, batch: tuple[float, float], texts: float) -> None:
        size, took = batch
        count = tokens / size
        grown = (
            count,
            tokens,
            tokens,
            tokens * size,
            count * texts,
            count * texts * took,
            count * texts,
            count * texts,
            count * texts**2,
            math.nan,
        )
        self.batches = [old + new for old, new in zip(self.batches, grown, strict=True)]

    def _window(self, serving: Serving, now: float) -> Window:
        memory = () if serving.memory is None else (GpuMemory(serving.gpu, serving.memory, 1.0),)
        reading = Reading(
            now,
            Histogram((math.inf,), (self.requests,), self.total),
            memory,
            errors=self.errors,
            tokens=None if serving.tokens is None else self.tokens,
            batches=None if serving.batch is None else BatchTotals(*self.batches),
        )
        window = self.history.add(reading)
        return window if serving.looks is None else replace(window, looks=self.looks)

    def input(self, id_: str, serving: Serving, now: float) -> ReplicaInput:
        """What is known of the replica."""
        counts = []
        if serving.queue is not None and self.scraped_at is not None:
            counts.append(InFlight(OWN, serving.queue, self.scraped_at, serving.are_texts))
        if serving.reported is not None:
            counts.append(InFlight(ENVOYS, serving.reported, now, by_class=serving.by_class or {}))
        return ReplicaInput(
            id_,
            slots=serving.slots,
            generation=serving.generation,
            window=self.window,
            scraped_at=self.scraped_at,
            gpu_uuid=serving.gpu,
            memory=serving.limits,
            in_flight=tuple(counts),
            failing=serving.fails,
            ready=serving.ready,
            ready_since=serving.ready_since,
        )


class Play:
    """A pool through time, decided after each round of scrapes.

    Attributes:
        table: Of the pool.
        decision: The last one.
        now: When that was.
        gpus: Memory in use by GPU, over all pools.
        inputs: What was put last, by id.
        zones: See `ZoneInput`.
    """

    def __init__(
        self,
        settings: PoolSettings = SETTINGS,
        *,
        envoys: int | None = MANY,
        sizes: Sizes | None = None,
    ) -> None:
        self.settings, self.envoys, self.sizes = settings, envoys, sizes
        self.table = Table()
        self.decision: Decision | None = None
        self.now = 0.0
        self.gpus: dict[str, float] = {}
        self.inputs: dict[str, ReplicaInput] = {}
        self.zones: ZoneInput | None = None
        self._counters: dict[str, Counters] = {}

    def copy(self) -> Self:
        """The same, to go on in another way."""
        sizes = self.sizes.copy() if self.sizes is not None else None
        other = type(self)(self.settings, envoys=self.envoys, sizes=sizes)
        other.table, other.decision, other.now = self.table.copy(), self.decision, self.now
        other.gpus, other._counters = dict(self.gpus), deepcopy(self._counters)
        other.inputs = dict(self.inputs)
        return other

    def step(
        self, pool: Mapping[str, Serving], *, seconds: float = INTERVAL, hold: str | None = None
    ) -> Decision:
        """Let time pass, and decide about these replicas; the others have left."""
        self.now += seconds
        for id_ in [*self.table.rows]:
            if id_ not in pool:
                self.table.remove(id_)
                del self._counters[id_]
        for id_, serving in pool.items():
            known = self._counters.get(id_)
            if known is None or known.generation != serving.generation:
                known = self._counters[id_] = Counters(serving.generation)
            known.go_on(serving, seconds, self.now)
            self.inputs[id_] = known.input(id_, serving, self.now)
            self.table.put(self.inputs[id_])
        return self.decide(hold=hold)

    def decide(self, *, hold: str | None = None) -> Decision:
        """Decide about what is known, now."""
        self.decision = decide(
            self.decision,
            self.settings,
            self.table,
            self.now,
            gpus=self.gpus,
            envoys=self.envoys,
            sizes=self.sizes,
            hold=hold,
            zone_input=self.zones,
        )
        return self.decision

    def run(self, pool: Mapping[str, Serving], seconds: float = 40) -> Decision:
        """Let the replicas go on for a while; returns the last decision."""
        return self.all_of(pool, seconds)[-1]

    def all_of(self, pool: Mapping[str, Serving], seconds: float) -> list[Decision]:
        """The same; returns every decision."""
        return [self.step(pool) for _ in range(max(round(seconds / INTERVAL), 1))]


def pool(*capacities: float, **same: Any) -> dict[str, Serving]:
    """Replicas a, b, c … of these capacities."""
    return {chr(ord("a") + i): Serving(each, **same) for i, each in enumerate(capacities)}


_PLAYED: dict[Any, Play] = {}


def played(replicas: Mapping[str, Serving], seconds: float = 40, **play: Any) -> Play:
    """A pool that has come to what it comes to when nothing changes any more."""
    key = (tuple(replicas.items()), seconds, *(f"{name}={play[name]}" for name in sorted(play)))
    if "sizes" in play or any(each.by_class for each in replicas.values()):
        found = Play(**play)
        found.run(replicas, seconds)
        return found
    if key not in _PLAYED:
        # Many tests begin with the same pool.
        _PLAYED[key] = Play(**play)
        _PLAYED[key].run(replicas, seconds)
    return _PLAYED[key].copy()


def settled(replicas: Mapping[str, Serving], seconds: float = 40, **play: Any) -> Decision:
    """The last decision about it."""
    found = played(replicas, seconds, **play).decision
    assert found is not None
    return found


def weights(decision: Decision) -> dict[str, int]:
    """Envoy's weights over all requests, by id."""
    return {id_: int(decision.weight[row]) for id_, row in decision.rows.items()}


def shares(decision: Decision) -> dict[str, float]:
    """Parts of all requests, by id."""
    return {id_: float(decision.share[row]) for id_, row in decision.rows.items()}


def capacities(decision: Decision) -> dict[str, float]:
    """Tokens per second, by id."""
    return {id_: float(decision.capacity[row]) for id_, row in decision.rows.items()}


def relatives(decision: Decision) -> dict[str, float]:
    """Shares relative to the median, after damping, by id."""
    return {id_: float(decision.state.relative[row]) for id_, row in decision.rows.items()}


def tiers(decision: Decision) -> dict[str, str]:
    """Names of tiers, by id."""
    return {id_: decision.tier_of(row) for id_, row in decision.rows.items()}


def drained(decision: Decision) -> set[str]:
    """Ids of replicas that must get no new request."""
    return {id_ for id_, row in decision.rows.items() if decision.drained[row]}


def words(decision: Decision, id_: str) -> str:
    """Why a replica gets what it gets."""
    return "; ".join(step.words for step in decision.of(id_).steps)
