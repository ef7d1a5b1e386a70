"""From what a generator saw to what a fault has cost. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.balance.measures import LATE
from benchmarks.failover.scenarios import FAULT_AT, PATIENCE, Scenario
from benchmarks.generator import Outcome, Request
from controlplane.tools.load.record import nearest_rank

LASTING: Final = 1.0
"""Seconds before the end of the load: where a request that was due later failed or was slow, the
fault was still felt at the end. So it was where one was never answered."""

NO_ANSWER: Final = "no answer"
UNFINISHED: Final = "unanswered at the end"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fault has cost.

    Attributes:
        requests: That were sent.
        failed: Of them: without an answer of 200 whose body was whole.
        before: Of the failed, those that had ended before the fault.
        slow: Answered right after the fault, but late.
        seconds: From the fault to the end of the last one that failed or was slow; 0: none was.
        lasting: Whether there was one until the end of the load.
        faults: Of those that failed, how often each status, or why there was none.
        late: Milliseconds that the generator was late itself, 99th percentile.
        reached: Requests that reached replicas for each one of a client from the fault on; None
            where a replica cannot say.
        died: Replicas that have ended by themselves.
        kept: Uploads without an end that were open when the load ended.
    """

    requests: int
    failed: int
    before: int
    slow: int
    seconds: float
    lasting: bool
    faults: Mapping[str, int]
    late: float
    reached: float | None
    died: int
    kept: int

    @property
    def is_disturbed(self) -> bool:
        """Whether something else had the machine."""
        return self.late > LATE


@dataclass(frozen=True, slots=True)
class Seen:
    """What replicas and clients without an end say when the load is over.

    Attributes:
        reached: Requests that reached replicas since the fault; None where one cannot say.
        died: Replicas that have ended by themselves.
        kept: Uploads without an end that were open.
    """

    reached: int | None
    died: int
    kept: int


def cost(outcome: Outcome, scenario: Scenario, seen: Seen) -> Cost:
    """Work out what a fault has cost.

    Args:
        outcome: Of the load; at least one request.
        scenario: That was played.
        seen: By others.
    """
    requests = outcome.requests
    given_up = scenario.total + PATIENCE
    failed = [request for request in requests if request.latency is None]
    felt = [entry for entry in failed if _end(entry, given_up) > FAULT_AT]
    before = len(failed) - len(felt)
    # What the generator was late for itself is nobody else's.
    slow = [
        request
        for request in requests
        if request.latency is not None
        and request.latency - request.late > scenario.slow_after
        and _end(request, given_up) > FAULT_AT
    ]
    felt += slow
    after = sum(request.at >= FAULT_AT for request in requests)
    return Cost(
        requests=len(requests),
        failed=len(failed),
        before=before,
        slow=len(slow),
        seconds=max((_end(item, given_up) - FAULT_AT for item in felt), default=0.0),
        lasting=any(each.took is None or each.at > scenario.total - LASTING for each in felt),
        faults=dict(Counter(map(_why, failed)).most_common()),
        late=1000 * nearest_rank([request.late for request in requests], 0.99),
        reached=None if seen.reached is None or not after else seen.reached / after,
        died=seen.died,
        kept=seen.kept,
    )


def _end(request: Request, given_up: float) -> float:
    """Seconds after the begin of the load when it was over."""
    return given_up if request.took is None else request.at + request.took


def _why(request: Request) -> str:
    if request.took is None:
        return UNFINISHED
    return NO_ANSWER if request.status in {None, 200} else str(request.status)
