"""Replicas behind one queue: each takes what waits, up to a batch, whenever it is free.

That is the best that any balancing could do, and the same for all autoscalers. A replica costs from
its creation until it has ended; it serves once it has started.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import numpy as np

from benchmarks.scaling.loads import Requests
from benchmarks.worlds.server import Curve
from benchmarks.worlds.worlds import BATCHING, batches_carry
from controlplane.balancing.columns import Floats

CURVE, BUDGET = BATCHING.curve, float(BATCHING.limits.tokens)
FULL: Final = batches_carry(CURVE, BUDGET)
"""Tokens per second of a replica of speed 1 that is always busy."""


@dataclass(eq=False, slots=True)
class Replica:
    """One of them.

    Attributes:
        id: Its name.
        speed: How many times as fast as usual.
        estimate: What its capacity is taken for, as a factor of what it is.
        created: When; seconds.
        ready: When it can serve.
        busy: Seconds that it computed so far, batches in the future included.
        gone: Whether it takes no more.
    """

    id: str
    speed: float
    estimate: float
    created: float
    ready: float
    busy: float = 0.0
    gone: bool = False
    curve: Curve = field(init=False)
    ends: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look up what batches take once."""
        self.curve = CURVE.at(self.speed)

    @property
    def capacity(self) -> float:
        """Tokens per second, as estimated."""
        return FULL * self.speed * self.estimate

    def busy_part(self, begin: float, end: float) -> float:
        """Part of a time in which it computed."""
        found = 0.0
        for began, ended in reversed(self.ends):
            if ended <= begin:
                break
            found += max(min(ended, end) - max(began, begin), 0.0)
        return found / (end - begin)


class Fleet:
    """A queue and its replicas, while time passes.

    Attributes:
        now: Seconds.
        replicas: Those that exist, the oldest first.
        hours: Replica-hours so far.
        watch: Is called every few seconds.
        pace: How fast replicas are by the time; 1 is usual.
        done: When each request was answered; NaN: not yet.
    """

    def __init__(self, requests: Requests, seed: int, cold_start: float, begin: int) -> None:
        self.requests, self.now, self.hours = requests, 0.0, 0.0
        self._random, self._cold_start = Random(seed), cold_start
        self._at: list[float] = requests.at.tolist()
        self._sums: list[float] = [0.0, *np.cumsum(requests.tokens).tolist()]
        self._next = 0
        self._free: list[tuple[float, int, Replica]] = []
        self._count = 0
        self.replicas: list[Replica] = []
        self.watch: Callable[[], None] = lambda: None
        self.pace: Callable[[float], float] = lambda _: 1.0
        self.done: Floats = np.full(len(self._at), np.nan)
        for _ in range(begin):
            self._add(0.0)

    def _add(self, cold_start: float) -> None:
        self._count += 1
        random = self._random
        ready = self.now + cold_start * random.uniform(0.85, 1.15)
        speed, estimate = random.lognormvariate(0, 0.1), random.lognormvariate(0, 0.07)
        replica = Replica(f"r{self._count}", speed, estimate, self.now, ready)
        self.replicas.append(replica)
        heapq.heappush(self._free, (ready, self._count, replica))

    def scale(self, wanted: int) -> None:
        """Create replicas, or end some: first those that start, then the newest."""
        for _ in range(wanted - len(self.replicas)):
            self._add(self._cold_start)
        for _ in range(len(self.replicas) - wanted):
            chosen = max(
                self.replicas, key=lambda replica: (replica.ready > self.now, replica.created)
            )
            chosen.gone = True
            self.replicas.remove(chosen)

    def go_on(self, until: float) -> None:
        """Let time pass."""
        at, sums, free, done = self._at, self._sums, self._free, self.done
        self.hours += len(self.replicas) * (until - self.now) / 3600
        many = len(at)
        while self._next < many and free:
            free_at, number, replica = free[0]
            start = max(free_at, at[self._next])
            if start >= until:
                break
            heapq.heappop(free)
            if replica.gone:
                continue
            first = self._next
            last = min(bisect_right(at, start, first), bisect_right(sums, sums[first] + BUDGET) - 1)
            last = max(last, first + 1)
            seconds = replica.curve.seconds(sums[last] - sums[first]) / self.pace(start)
            end = start + seconds
            done[first:last] = end
            replica.ends.append((start, end))
            if len(replica.ends) > 2000:
                del replica.ends[:1000]
            self._next = last
            heapq.heappush(free, (end, number, replica))
        self.now = until

    @property
    def ready(self) -> list[Replica]:
        """Those that serve."""
        return [replica for replica in self.replicas if replica.ready <= self.now]

    def waiting(self) -> tuple[int, float]:
        """Requests that wait, and their tokens."""
        last = bisect_right(self._at, self.now)
        if last <= self._next:
            return 0, 0.0
        return last - self._next, self._sums[last] - self._sums[self._next]

    def in_flight(self) -> int:
        """Requests that wait or are computed."""
        last, begin = self._next, max(self._next - 4000, 0)
        return self.waiting()[0] + int((self.done[begin:last] > self.now).sum())

    def came(self, begin: float, end: float) -> Floats:
        """Tokens of each request that came in a time."""
        first, last = bisect_right(self._at, begin), bisect_right(self._at, end)
        return self.requests.tokens[first:last]
