"""Whole lives of pools for properties of `weigh`: replicas whose counters go on as they serve.

Windows out of nothing rarely come to an estimate, and what comes after it is then never reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from controlplane.settings import PoolSettings
from controlplane.signals import GpuMemory, Window
from controlplane.weighing import InFlight, ReplicaInput, Weighing, weigh
from tests.weighing.pools import INTERVAL

IDS = "abcdef"


@dataclass(frozen=True)
class Doing:
    """What a replica does for some time.

    Attributes:
        rate: Requests per second that it answers.
        latency: Seconds that each takes.
        tail: Times the mean that the p99 is.
        failing: Part of the requests.
        tokens: Of a request, where it counts them.
        line: Requests in flight that somebody counts, times what its latency explains; 0: nobody.
        memory: Part of its GPU's.
        heard: Whether its scrapes come to anything.
        ready: Whether it may serve.
    """

    rate: float = 40.0
    latency: float = 0.02
    tail: float = 2.0
    failing: float = 0.0
    tokens: float = 100.0
    line: float = 0.0
    memory: float = 0.5
    heard: bool = True
    ready: bool = True


@dataclass(frozen=True)
class Life:
    """A replica from its first day on.

    Attributes:
        slots: None: to be learned.
        counts: Whether it counts tokens.
        ready_since: When it became ready; None: before anybody looked.
        doings: One after the other, each for as long as `lived` says.
    """

    slots: int | None
    ready_since: float | None
    doings: tuple[Doing, ...]
    counts: bool = True


doings = st.builds(
    Doing,
    rate=st.sampled_from([0.0, 2.0, 40.0, 200.0]),
    latency=st.sampled_from([0.005, 0.02, 0.025, 0.1, 1.0]),
    tail=st.sampled_from([2.0, 2.5, 20.0]),
    failing=st.sampled_from([0.0, 0.0, 0.0, 0.3]),
    tokens=st.sampled_from([50.0, 100.0, 400.0]),
    line=st.sampled_from([0.0, 0.0, 1.0, 50.0]),
    heard=st.sampled_from([True, True, True, False]),
    ready=st.sampled_from([True, True, True, False]),
)
lives = st.builds(
    Life,
    slots=st.sampled_from([None, 1, 1, 4]),
    counts=st.sampled_from([True, True, False]),
    ready_since=st.sampled_from([None, None, 0.0, 6.0]),
    doings=st.tuples(doings, doings, doings),
)
pools = st.lists(lives, min_size=1, max_size=len(IDS)).map(
    lambda found: dict(zip(IDS, found, strict=False))
)


def lived(
    pool: dict[str, Life],
    settings: PoolSettings,
    *,
    rounds: int = 10,
    envoys: int | None = None,
    at_a_time: int = 1,
) -> list[Weighing]:
    """Every weighing of a pool.

    Args:
        pool: Lives by id, in the order in which they are handed over.
        settings: Of the pool.
        rounds: For how many scrapes each `Doing` lasts.
        envoys: How many the requests come through.
        at_a_time: How often it is weighed with the same readings.
    """
    weighing: Weighing | None = None
    weighings = []
    sums = {id_: _Sums() for id_ in pool}
    for number in range(3 * rounds):
        now = number * INTERVAL
        inputs = [
            sums[id_].seen(id_, life, life.doings[number // rounds], now)
            for id_, life in pool.items()
        ]
        for _ in range(at_a_time):
            weighing = weigh(weighing, settings, inputs, now, envoys=envoys)
        assert weighing is not None
        weighings.append(weighing)
    return weighings


class _Sums:
    """The counters of one replica."""

    def __init__(self) -> None:
        self.count = self.total = self.tokens = 0.0
        self.window: Window | None = None

    def seen(self, id_: str, life: Life, doing: Doing, now: float) -> ReplicaInput:
        if doing.ready:
            self.count += doing.rate * INTERVAL
            self.total += doing.rate * INTERVAL * doing.latency
            self.tokens += doing.rate * INTERVAL * doing.tokens
        if doing.heard:
            self.window = self._window(life, doing, now)
        explained = doing.rate * doing.latency
        line = (InFlight("load reports", doing.line * (1 + explained), now),) * bool(doing.line)
        return ReplicaInput(
            id_,
            slots=life.slots,
            window=self.window,
            age=None if self.window is None else now - self.window.at,
            in_flight=line,
            ready=doing.ready,
            ready_since=life.ready_since,
        )

    def _window(self, life: Life, doing: Doing, now: float) -> Window:
        rate = doing.rate if doing.ready else 0.0
        samples = rate * 5.0
        return Window(
            at=now,
            seconds=5.0,
            samples=samples,
            errors=samples * doing.failing,
            rate=rate,
            latency=doing.latency if rate else None,
            p99=doing.latency * doing.tail if rate else None,
            resolution="ok",
            in_flight=rate * doing.latency,
            error_fraction=doing.failing / (1 + doing.failing) if rate else 0.0,
            memory=(GpuMemory(None, doing.memory, 1.0),),
            count=self.count,
            total=self.total,
            tokens=self.tokens if life.counts else None,
            tokens_in=samples * doing.tokens if life.counts else None,
        )


def steps_seen(weighings: Sequence[Weighing]) -> set[str]:
    """The names of all steps of all replicas."""
    return {
        step.name
        for weighing in weighings
        for weighed in weighing.replicas.values()
        for step in weighed.steps
    }
