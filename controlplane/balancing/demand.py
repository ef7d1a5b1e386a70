"""What comes to a pool, by class of requests."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.balancing.prediction import Flow
from controlplane.balancing.table import BULK, DEFAULT

CLEAR: Final = 10.0
"""Times the mean of short requests that the mean of long ones must be to be another class."""
BIMODAL: Final = 0.85
"""Fraction of the variance of sizes that two classes explain. Without a gap it is less: 0.64 for a
lognormal distribution, 0.75 for a uniform one."""
SHORT: Final = 0.2
"""Part of the mean of the longest class below which the requests of a class are short."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What comes, by class.

    Attributes:
        flows: By class, at least one.
        threshold: Bytes from which on a request is long; None where a user names classes.
        enough: There were enough requests of each class to rely on it.
        explained: See `Split`.
        objectives: Seconds of p99 that a class promises, by class.
    """

    flows: Mapping[str, Flow]
    threshold: int | None = None
    enough: bool = True
    explained: float = 1.0
    objectives: Mapping[str, float] = field(default_factory=dict)

    @property
    def all(self) -> Flow:
        """All classes together."""
        first, *rest = self.flows.values()
        for flow in rest:
            first = first.plus(flow)
        return first

    @property
    def is_clear(self) -> bool:
        """Whether there are classes: named, or two sizes with a gap between them."""
        if self.threshold is None:
            return True
        is_apart = self.flows[BULK].mean >= CLEAR * self.flows[DEFAULT].mean
        return self.explained >= BIMODAL and is_apart

    @property
    def parts(self) -> dict[str, float]:
        """The part of all work that each class is."""
        total = max(math.fsum(flow.tokens for flow in self.flows.values()), 1e-9)
        return {name: flow.tokens / total for name, flow in self.flows.items()}

    def is_short(self, name: str) -> bool:
        """Whether the requests of a class are short beside the longest."""
        longest = max(flow.mean for flow in self.flows.values())
        return self.flows[name].mean < SHORT * longest
