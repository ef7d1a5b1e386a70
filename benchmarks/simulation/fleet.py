"""A scenario played through: arrivals, servers, changes, and whoever dispatches requests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, Protocol

from benchmarks.simulation.clock import Clock
from benchmarks.worlds.memory import Memory
from benchmarks.worlds.scenarios import Scenario
from benchmarks.worlds.server import TAKEN, Server
from benchmarks.worlds.traffic import Arrival, Job, arrivals, request

LEAD: Final = 1.25
"""Seconds for which replicas are watched before the first request comes."""
MOST: Final = 4000
"""Requests in flight at which a run has collapsed."""
AGAIN: Final = 0.1
"""Seconds after which a worker of a job goes on that got an error."""
NOTICED: Final = 1.0
"""Seconds after which health checks have found that a replica does not serve any more."""


class Dispatching(Protocol):
    """Whoever chooses replicas: all proxies of a contender, and what steers them."""

    def start(self) -> None:
        """Time begins."""

    def send(self, dispatcher: int, arrival: Arrival) -> None:
        """Send a request that has come to one of the dispatchers to a replica."""

    def ended(self, arrival: Arrival, number: int, token: Any, *, good: bool) -> None:
        """A request that was sent with this token has ended; not good: it was refused."""

    def health_changed(self) -> None:
        """Other replicas are healthy than before."""


@dataclass(slots=True)
class Record:
    """What is to be known of a run.

    Attributes:
        latencies: Seconds, by class, of the requests that count.
        failed: Requests that count and got an error.
        busy: Of each replica, the part of the time that counts in which it had something to do.
        tokens: Tokens a second that were served in the time that counts.
        collapsed: More and more requests were waiting until the run was given up.
    """

    latencies: dict[str, list[float]]
    failed: int = 0
    busy: list[float] = field(default_factory=list)
    tokens: float = 0.0
    collapsed: bool = False


class Fleet:
    """Replicas while a scenario is played.

    Attributes:
        scenario: What is played.
        clock: Its time.
        servers: All replicas.
        dispatchers: How many there are.
        healthy: Numbers of the replicas that health checks find well.
        random: Chance, for whoever dispatches.
    """

    def __init__(
        self,
        scenario: Scenario,
        dispatchers: int,
        seed: int,
        contender: Callable[["Fleet"], Dispatching],
    ) -> None:
        self.scenario = scenario
        self.clock = Clock(-LEAD)
        self.dispatchers = dispatchers
        self.random = Random(seed + 1000)
        self._seed, self._sizes = seed, Random(seed + 2000)
        self.servers: list[Server] = [
            scenario.world.server(speed, self.clock.call_at, self._memory(number))
            for number, speed in enumerate(scenario.speeds)
        ]
        for pair in scenario.gpus:
            one, other = (self.servers[number] for number in pair)
            one.share_with(other)
            other.share_with(one)
        self.healthy = list(range(len(self.servers)))
        if scenario.joins is not None:
            self.servers[-1].ready = False
            self.healthy.pop()
        self._dispatching = contender(self)
        self._record = Record({kind: [] for kind in scenario.traffic.kinds})
        self._in_flight = 0

    def play(self) -> Record:
        """Run the scenario from its begin to its end."""
        scenario, clock = self.scenario, self.clock
        end = scenario.timing.total
        self._dispatching.start()
        self._prepare()
        # As the generator of real runs reads the rate.
        sent = arrivals(scenario.traffic, self._seed, float(f"{scenario.rate:g}"), end)
        for turn, arrival in enumerate(sent):
            clock.wind(arrival.at)
            if self._in_flight > MOST:
                self._record.collapsed = True
                break
            self._in_flight += 1
            self._dispatching.send(turn % self.dispatchers, arrival)
        else:
            clock.wind(end)
        self._summarize()
        clock.wind()
        return self._record

    def admit(
        self, arrival: Arrival, number: int, token: Any, texts: Sequence[int] | None = None
    ) -> None:
        """Let a replica take a request in; what comes of it, the one who dispatched is told.

        Args:
            arrival: The request.
            number: Of the replica.
            token: Given back when it has ended.
            texts: Some of the request's; whoever parts it says when it is `done`. None: all.
        """

        def answer(_: float) -> None:
            if texts is None:
                self.done(arrival)
            self._dispatching.ended(arrival, number, token, good=True)

        now, all_of_it = self.clock.now, arrival.texts if texts is None else texts
        if self.servers[number].admit(now, all_of_it, answer) != TAKEN:
            self.refuse(arrival)
            self._dispatching.ended(arrival, number, token, good=False)

    def done(self, arrival: Arrival) -> None:
        """A request is answered."""
        self._in_flight -= 1
        self._go_on(arrival, 0.0)
        if arrival.at >= self.scenario.timing.warm_up:
            self._record.latencies[arrival.kind].append(self.clock.now - arrival.at)

    def refuse(self, arrival: Arrival) -> None:
        """Answer a request with an error at once."""
        self._in_flight -= 1
        self._go_on(arrival, AGAIN)
        self._record.failed += arrival.at >= self.scenario.timing.warm_up

    def _go_on(self, arrival: Arrival, after: float) -> None:
        """Let the worker of a job send its next request."""
        job, worker = self.scenario.traffic.job, arrival.worker
        if job is not None and worker is not None:
            self.clock.call_at(self.clock.now + after, partial(self._work, job, worker))

    def _work(self, job: Job, worker: int) -> None:
        now = self.clock.now
        if now < min(job.end, self.scenario.timing.total):
            self._in_flight += 1
            sent = request(job.requests, now, self._sizes, worker)
            self._dispatching.send(worker % self.dispatchers, sent)

    def _memory(self, number: int) -> Memory | None:
        filling = self.scenario.filling
        if filling is None:
            return None
        memory = Memory(filling if filling.replica == number else None)
        memory.begun = 0.0
        return memory

    def _prepare(self) -> None:
        """What happens on the way."""
        scenario, call_at = self.scenario, self.clock.call_at
        if (job := scenario.traffic.job) is not None:
            for worker in range(job.workers):
                call_at(job.begin, partial(self._work, job, worker))
        for change in scenario.changes:
            pace = self.servers[change.replica].pace
            call_at(change.at, partial(pace, change.at, change.factor))
        if scenario.joins is not None:
            call_at(scenario.joins, lambda: self.turns(len(self.servers) - 1, ready=True))
        if scenario.dies is not None:
            at, number = scenario.dies
            call_at(at, lambda: setattr(self.servers[number], "ready", False))
            call_at(at + NOTICED, lambda: self.turns(number, ready=False))
        self._before: list[tuple[float, int]] = [(0.0, 0)] * len(self.servers)
        call_at(scenario.timing.warm_up, self._remember)

    def turns(self, number: int, *, ready: bool) -> None:
        """Let health checks find that a replica serves, or does not any more."""
        self.servers[number].ready = ready
        if ready:
            self.healthy = sorted([*self.healthy, number])
        else:
            self.healthy = [other for other in self.healthy if other != number]
        self._dispatching.health_changed()

    def _remember(self) -> None:
        now = self.clock.now
        self._before = [(server.busy(now), server.tokens_answered) for server in self.servers]

    def _summarize(self) -> None:
        now = self.clock.now
        seconds = max(now - self.scenario.timing.warm_up, 1e-9)
        for server, (busy, tokens) in zip(self.servers, self._before, strict=True):
            self._record.busy.append((server.busy(now) - busy) / seconds)
            self._record.tokens += (server.tokens_answered - tokens) / seconds
