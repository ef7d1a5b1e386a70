"""What a decision about many replicas costs, and which part of it takes how much.

    python -m benchmarks.decision

Readings are made up, everything from there on is the control plane's own: rows are written, shares
decided, histories kept and Envoys' resources built. Printed is CPU of this process.
"""

import math
import random
import time
from collections.abc import Callable
from typing import Any, Final

import click

from controlplane import balancing
from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import PutPool, PutReplicas
from controlplane.plane import Plane, Probe, Target, plane
from controlplane.plane.decisions import PoolDecision
from controlplane.plane.history import Histories
from controlplane.plane.inputs import Tables
from controlplane.telemetry import BatchTotals, Histogram, Reading

POOL: Final = "pool"
WARM_UP: Final = 30
"""Scrapes of everything before anything is measured."""
TOGETHER: Final = 1_000
"""Replicas that are put at a time."""
LOAD: Final = 0.6
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, math.inf)
TOKENS: Final = 100.0
START: Final = 0.03
"""Seconds that a batch takes beside its tokens."""

CASES: Final = ("nothing new", "one new", "all new")


class Replica:
    """Counters that go on.

    Attributes:
        target: As the plane scrapes it.
    """

    def __init__(self, target: Target, seed: int, *, batches: bool) -> None:
        self.target = target
        self._random = random.Random(seed)
        self._speed = 2.0 ** self._random.uniform(-2, 2)
        self._batches = batches
        self._counts = [0.0] * len(BOUNDS)
        self._total = self._ended = self._computed = self._squares = self._billed = 0.0

    def reading(self, at: float) -> Reading:
        """After one more second."""
        ended = round(self._random.gauss(20 * self._speed, math.sqrt(20 * self._speed)))
        latency = LOAD / (1 - LOAD) / 20 / self._speed * self._random.uniform(0.9, 1.1)
        self._ended += ended
        self._total += ended * latency
        self._counts = [
            count + ended * (latency <= bound)
            for count, bound in zip(self._counts, BOUNDS, strict=True)
        ]
        reading = Reading(
            at=at,
            latency=Histogram(BOUNDS, tuple(self._counts), self._total),
            queue=float(self._random.randrange(3)),
            errors=0.0,
            tokens=TOKENS * self._ended,
        )
        if not self._batches:
            return reading
        self._computed += (done := 10 * self._random.uniform(0.9, 1.1))
        each = TOKENS * ended / done
        self._squares += done * each**2
        lasts = START + each / (4_000 * self._speed)
        self._billed += ended * lasts
        tokens, texts = TOKENS * self._ended, self._ended
        totals = BatchTotals(
            batches=self._computed,
            tokens=tokens,
            middles=tokens,
            squares=self._squares,
            texts=texts,
            seconds=self._billed,
            billed=texts,
        )
        return Reading(**{name: getattr(reading, name) for name in _NAMES} | {"batches": totals})


_NAMES: Final = ("at", "latency", "queue", "errors", "tokens")


class Parts(dict[str, float]):
    """Seconds of CPU that parts of a decision took, by what they do."""

    def follow(self, what: str, owner: Any, name: str) -> None:
        """Measure a function, or a method of all objects of a class, from now on."""
        inner: Callable[..., Any] = getattr(owner, name)

        def measured(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                self[what] = self.get(what, 0.0) + time.process_time() - begun

        setattr(owner, name, measured)


def fleet(count: int, *, batches: bool) -> tuple[Plane, list[Replica]]:
    """A plane with one pool of so many replicas, all healthy."""
    made = Plane(0.0)
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}
    metrics = {"profile": "tei" if batches else "vllm", "interval": "1s"}
    made.apply(PutPool(POOL, validated(PoolSettings, body | {"metrics": metrics})), 0.0)
    for first in range(0, count, TOGETHER):
        put = {
            f"replica-{number:05}": validated(
                ReplicaSettings,
                {"address": f"10.0.{number >> 8}.{number & 255}:80", "slots": 4},
            )
            for number in range(first, min(first + TOGETHER, count))
        }
        made.apply(PutReplicas(POOL, put), 0.0)
    targets = made.targets()
    for target in targets:
        made.probed(target, Probe.HEALTHY, 0.0)
    return made, [Replica(each, seed, batches=batches) for seed, each in enumerate(targets)]


def measure(count: int, rounds: int, *, batches: bool, parts: Parts) -> dict[str, Parts]:
    """The least seconds of CPU of a decision in each case, all of it and by part.

    Whatever disturbs one only adds to it.
    """
    made, replicas = fleet(count, batches=batches)
    now = 0.0
    for _ in range(WARM_UP):
        now += 1.0
        _scrape(made, replicas, now)
        _decide(made, now)
    found: dict[str, list[Parts]] = {case: [] for case in CASES}
    for number in range(rounds):
        now += 1.0
        for case, some in (
            ("all new", replicas),
            ("one new", replicas[number : number + 1]),
            ("nothing new", []),
        ):
            # Decisions are a quarter of a second apart at least.
            now += 0.25
            _scrape(made, some, now)
            made._dirty.add_replicas({POOL: ()})
            parts.clear()
            begun = time.process_time()
            _decide(made, now)
            found[case].append(Parts(parts, all=time.process_time() - begun))
    return {case: min(values, key=lambda each: each["all"]) for case, values in found.items()}


def _decide(made: Plane, now: float) -> None:
    made.decide(now, 1)


def _scrape(made: Plane, replicas: list[Replica], now: float) -> None:
    for each in replicas:
        made.record(each.target, each.reading(now), now)


@click.command
@click.option("--replicas", default=10_000, help="In one pool.")
@click.option(
    "--rounds",
    default=7,
    help="Of which the fastest is printed: whatever disturbs one only adds to it.",
)
def main(replicas: int, rounds: int) -> None:
    """Measure what a decision costs of which nothing, one replica and every replica is new."""
    parts = Parts()
    parts.follow("rows", Tables, "write")
    parts.follow("shares", balancing, "decide")
    parts.follow("history", Histories, "record")
    parts.follow("weights", PoolDecision, "take")
    parts.follow("resources", plane, "build")
    for kind in ("slots", "batches"):
        found = measure(replicas, rounds, batches=kind == "batches", parts=parts)
        names = dict.fromkeys(name for each in found.values() for name in each)
        click.echo(f"| {replicas} replicas, {kind}; CPU ms | {' | '.join(names)} |")
        click.echo(f"|---|{'---:|' * len(names)}")
        for case in CASES:
            times = " | ".join(f"{1000 * found[case].get(name, 0.0):.1f}" for name in names)
            click.echo(f"| {case} | {times} |")
        click.echo("")


if __name__ == "__main__":
    main()
