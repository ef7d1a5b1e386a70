"""Find the highest rate at which a fleet keeps an objective: steps in, a rate out. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from controlplane.tools.load.diagnosis import ms, per_second, spoiled
from controlplane.tools.load.record import StepRecord
from controlplane.tools.load.schedule import Step
from controlplane.tools.load.statistics import queue

ENOUGH: Final = 100
"""Requests below which the 99th percentile is the longest of a few."""

Known = Literal["between", "at least", "below", "nothing"]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a fleet carries at an objective.

    Attributes:
        rate: Requests per second, the highest tried at which it and every lower rate kept the
            objective; None where the lowest one did not.
        missed: The lowest rate tried that missed the objective; None where none did.
        objective: Seconds of the 99th percentile.
        few: Fewest requests of any step that was judged.
        spoiled: The rate at which the generator itself became the bottleneck; from there on nothing
            is known of the fleet. None where it did not.
        tokens: Tokens per second that were sent at `rate`; 0: not known.
    """

    rate: float | None
    missed: float | None
    objective: float
    few: int
    spoiled: float | None = None
    tokens: float = 0.0

    @property
    def known(self) -> Known:
        """How well the capacity is known."""
        if self.rate is None:
            return "below" if self.spoiled is None else "nothing"
        return "at least" if self.missed is None else "between"

    @property
    def sentence(self) -> str:
        """The capacity in words."""
        goal = f"p99 within {ms(self.objective)}"
        work = f" ({per_second(self.tokens)} tokens/s)" if self.tokens else ""
        match self.rate, self.missed:
            case None, None:
                text = "nothing is known of the fleet"
            case None, missed:
                text = f"the fleet does not keep {goal} even at {missed:.4g} requests/s"
            case rate, None:
                text = f"the fleet carries at least {rate:.4g} requests/s{work} with {goal}"
                text += ": try more" if self.spoiled is None else ""
            case rate, missed:
                text = (
                    f"the fleet carries {rate:.4g} requests/s{work} with {goal}, and not"
                    f" {missed:.4g}"
                )
        if self.spoiled is not None:
            text += f": at {self.spoiled:.4g} the generator itself was the bottleneck"
        if self.few < ENOUGH:
            text += f" (a step of {self.few} requests says little of a p99: a longer --duration)"
        return text


def keeps(step: Step, record: StepRecord, objective: float) -> bool:
    """Tell whether 99 % of a step's requests kept an objective, failed and held back ones counted.

    Where a queue grew, a longer step would have missed the objective.
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
    """Find the capacity that the measured steps of a staircase show; `objective` in seconds of p99.

    Returns:
        None without an objective, or without a step that was measured.
    """
    if objective is None or not steps:
        return None
    rate, missed, own, few, work = None, None, None, math.inf, 0.0
    for step, record in sorted(steps, key=lambda pair: pair[0].rate):
        few = min(few, record.whole.requests)
        if not keeps(step, record, objective):
            if spoiled(record, objective):
                own = step.rate
            else:
                missed = step.rate
            break
        rate, work = step.rate, record.whole.tokens / (step.end - step.counts_from)
    return Capacity(rate, missed, objective, int(few), own, work)
