"""The highest rate at which an objective is kept: steps of a staircase in, a rate out. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from controlplane.tools.load.diagnosis import ms, spoiled
from controlplane.tools.load.queueing import queue
from controlplane.tools.load.record import StepRecord
from controlplane.tools.load.schedule import Step

ENOUGH: Final = 100
"""Requests below which the 99th percentile is the longest of a few."""

Known = Literal["between", "at least", "below", "nothing"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a fleet carries at an objective.

    Attributes:
        rate: Requests per second, the highest tried at which it and every lower rate kept the
            objective; None where the lowest one did not.
        missed: The lowest rate tried that did not; None where all did.
        objective: Seconds of the 99th percentile.
        few: Fewest requests of any step it was judged by.
        spoiled: The rate at which the generator itself became what holds requests up; from there
            on nothing is known of the fleet. None where it did not.
    """

    rate: float | None
    missed: float | None
    objective: float
    few: int
    spoiled: float | None = None

    @property
    def known(self) -> Known:
        """How far it was found."""
        if self.rate is None:
            return "below" if self.spoiled is None else "nothing"
        return "at least" if self.missed is None else "between"

    @property
    def sentence(self) -> str:
        """For people."""
        goal = f"p99 within {ms(self.objective)}"
        match self.rate, self.missed:
            case None, None:
                said = "of the fleet nothing is known"
            case None, missed:
                said = f"the fleet does not keep {goal} even at {missed:.4g} requests/s"
            case rate, None:
                said = f"the fleet carries at least {rate:.4g} requests/s with {goal}"
                said += ": try more" if self.spoiled is None else ""
            case rate, missed:
                said = f"the fleet carries {rate:.4g} requests/s with {goal}, and not {missed:.4g}"
        if self.spoiled is not None:
            said += f": at {self.spoiled:.4g} the generator itself was the bottleneck"
        if self.few < ENOUGH:
            said += f" (a step of {self.few} requests says little of a p99: a longer --duration)"
        return said


def keeps(step: Step, record: StepRecord, objective: float) -> bool:
    """Whether 99 % of a step's requests kept an objective, failed ones and held back ones counted.

    Where a queue grew, the objective would have been missed in a longer step.
    """
    p99 = record.whole.quantile(0.99)
    return (
        p99 is not None
        and p99 <= objective
        and not record.held_back
        and not record.unsent
        and queue(record.waiting(step), step.rate) == "steady"
    )


def capacity(steps: Sequence[tuple[Step, StepRecord]], objective: float | None) -> Capacity | None:
    """What a staircase says.

    Args:
        steps: Those that were measured to their end.
        objective: Seconds of the 99th percentile.

    Returns:
        None without an objective, or without a step that was measured.
    """
    if objective is None or not steps:
        return None
    rate, missed, own, few = None, None, None, math.inf
    for step, record in sorted(steps, key=lambda pair: pair[0].rate):
        few = min(few, record.whole.requests)
        if not keeps(step, record, objective):
            if spoiled(record, objective):
                own = step.rate
            else:
                missed = step.rate
            break
        rate = step.rate
    return Capacity(rate, missed, objective, int(few), own)
