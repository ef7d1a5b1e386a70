"""How long it takes from wanting a replica to one that serves, learned from past starts."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controlplane.scaling.demand import upper_quartile

UNKNOWN: Final = 60.0
"""Seconds that a start is taken to last before any was seen."""
LONGEST: Final = 1800.0
"""Seconds; a start that took longer waited for something else, such as a free GPU."""
KEPT: Final = 16
"""Starts that are remembered."""
OVERDUE: Final = 3.0
"""Cold starts after which a replica that is not ready counts no more."""


class ReplicaState(NamedTuple):
    """The state of a replica that scaling looks at.

    Attributes:
        generation: Differs between any two processes under one id.
        is_ready: Whether it serves.
        since: When its state began; −inf: it was there before us.
        ready_since: When it became ready; None where that was not seen.
        is_out: It is there and gets no requests: drained by an operator, or cut.
        is_leaving: It goes by itself: its lease is over, or no source has it any more.
    """

    generation: int
    is_ready: bool
    since: float
    ready_since: float | None
    is_out: bool = False
    is_leaving: bool = False


@dataclass
class ColdStarts:
    """The last starts of a pool's replicas.

    Attributes:
        samples: Seconds that each took, the newest last.
        asked_at: Since when more replicas are wanted than there are; None: there are enough.
        going_on: Seconds that the longest start has lasted so far that has not ended.
    """

    samples: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    asked_at: float | None = None
    going_on: float = 0.0
    _begun: dict[tuple[str, int], float | None] = field(default_factory=dict)
    _has_looked: bool = False

    @property
    def seconds(self) -> float:
        """What a start takes, in all but a quarter of cases, and no less than one that goes on."""
        return max(self.known, self.going_on)

    @property
    def known(self) -> float:
        """The same by those starts alone that have ended."""
        return upper_quartile(self.samples) if self.samples else UNKNOWN

    @property
    def overdue(self) -> float:
        """Seconds after which a replica that is not ready counts no more."""
        return OVERDUE * self.known

    def look(self, replicas: Mapping[str, ReplicaState], now: float) -> None:
        """Take in how ready replicas are.

        A start begins when one more replica was wanted, where that is known, and else when it was
        registered. A replica that was ready when it came has shown no start unless it was wanted.
        """
        begun = dict[tuple[str, int], float | None]()
        for id_, each in replicas.items():
            key = (id_, each.generation)
            start = self._begun.get(key)
            if key not in self._begun and self._has_looked:
                start = self.asked_at
                if not each.is_ready and start is None and each.since > -1e300:
                    start = each.since
            if each.is_ready and start is not None and each.ready_since is not None:
                self.learn((each.ready_since - start,))
                start = None
            begun[key] = None if each.is_ready else start
        self._begun, self._has_looked = begun, True
        ages = (now - start for start in begun.values() if start is not None)
        self.going_on = max((age for age in ages if age <= self.overdue), default=0.0)

    def learn(self, samples: Iterable[float]) -> None:
        """Take in what starts took, in seconds."""
        self.samples.extend(sample for sample in samples if 0 < sample <= LONGEST)

    def wanted(self, missing: int, now: float) -> None:
        """Note how many more replicas are wanted than there are."""
        if missing <= 0:
            self.asked_at = None
        elif self.asked_at is None:
            self.asked_at = now

    def data(self) -> Sequence[float]:
        """What outlives a restart, for `learn`."""
        return [round(sample, 3) for sample in self.samples]
