"""The contenders, how each dispatches requests, and runs of them in several processes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from benchmarks.simulation import balancing
from benchmarks.simulation.envoys import Envoys
from benchmarks.simulation.fleet import Dispatching, Fleet
from benchmarks.simulation.measures import Run, run_of, stillness_of
from benchmarks.simulation.peers import (
    FullScan,
    Knowing,
    LeastConn,
    Pooled,
    Proxies,
    Router,
    Split,
    TwoChoices,
)
from benchmarks.worlds.scenarios import SCENARIOS, Scenario
from controlplane.config import Address


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared.

    Attributes:
        name: As tables call it.
        make: Makes its dispatchers.
        peer: Whether it is something that users could pick instead.
    """

    name: str
    make: Callable[[Fleet], Dispatching]
    peer: bool = False


def _capacities(fleet: Fleet) -> list[float]:
    return [fleet.scenario.carries(number) for number in range(len(fleet.servers))]


def _true_weights(fleet: Fleet) -> Dispatching:
    return Proxies(fleet, LeastConn(_capacities(fleet), fleet.dispatchers))


PLIMSOLL: Final = "Plimsoll"

GATEWAY: Final = Address("127.0.0.1", 10100)
"""Nobody is there: the number of gateways matters alone."""

CONTENDERS: Final[Sequence[Contender]] = (
    Contender("two choices", lambda fleet: Proxies(fleet, TwoChoices()), peer=True),
    Contender("FULL_SCAN", lambda fleet: Proxies(fleet, FullScan()), peer=True),
    Contender("leastconn, true weights", _true_weights, peer=True),
    Contender("central router", Router),
    Contender("central router, true weights", lambda fleet: Router(fleet, _capacities(fleet))),
    Contender("tiers of true capacities", lambda fleet: Envoys(fleet, Knowing(fleet))),
    Contender("oracle split", lambda fleet: Envoys(fleet, Split(fleet))),
    Contender("oracle split, gateway", lambda fleet: Envoys(fleet, Split(fleet), gateways=1)),
    Contender("pooled queue", Pooled),
    Contender(PLIMSOLL, lambda fleet: Envoys(fleet, balancing.Balanced(fleet))),
    Contender(
        f"{PLIMSOLL}, not parted",
        lambda fleet: Envoys(fleet, balancing.Balanced(fleet, long_requests="any-replica")),
    ),
    Contender(
        f"{PLIMSOLL}, bulk through a gateway",
        lambda fleet: Envoys(
            fleet, balancing.Balanced(fleet, long_requests_via=(GATEWAY,)), gateways=1
        ),
    ),
    Contender(
        f"{PLIMSOLL}, load reports only", lambda fleet: Envoys(fleet, balancing.Reported(fleet))
    ),
)


def named(name: str) -> Contender:
    """The contender of a name."""
    return next(each for each in CONTENDERS if each.name == name)


@dataclass(frozen=True, slots=True)
class Job:
    """A run: names, and what decides about chance."""

    scenario: str
    dispatchers: int
    contender: str
    seed: int


def play(scenario: Scenario, dispatchers: int, contender: str, seed: int) -> Run:
    """Run one contender once."""
    made: list[Dispatching] = []

    def make(fleet: Fleet) -> Dispatching:
        made.append(named(contender).make(fleet))
        return made[0]

    record = Fleet(scenario, dispatchers, seed, make).play()
    timing, stillness = scenario.timing, None
    if isinstance(made[0], Envoys):
        stillness = stillness_of(made[0].history, timing.warm_up, timing.total)
    return run_of(record, stillness)


def play_job(job: Job) -> Run:
    """Run what a job says."""
    return play(SCENARIOS[job.scenario], job.dispatchers, job.contender, job.seed)


def play_all(jobs: Iterable[Job], processes: int) -> Iterator[Run]:
    """Run all, in the order in which they are given."""
    if processes == 1:
        yield from map(play_job, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play_job, jobs)
