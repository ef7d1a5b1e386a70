"""What a replica's requests say about its capacity: how many there were, how long it was busy.

Some requests are turned into the time that the replica was busy with them, and that adds up; how
it is remembered is in `record`. The relative error of a capacity by n requests is
`SPREAD`/√n: for requests that vary as lognormal sizes with sigma 1 do, no estimate that knows only
when requests end could be better than 1.31/√n, and this one was seen at 1.2/√n in simulation.
"""

import math
from dataclasses import dataclass
from typing import Final

PER_LOOK: Final = 3.0
"""Requests that are worth one look at what is in flight, at most. Where durations are not measured
but are what was in flight summed over looks, it is the looks that chance decides: see
docs/decisions/0012."""
SPREAD: Final = 1.2
"""Relative error of a capacity by one request; by n it is √n times smaller."""
UNLIKE: Final = 0.05
"""What is left of it by any number of requests: sizes drift, and no two periods are quite alike."""
_BRIEFEST, _LONGEST = 1e-6, 1e6
"""Seconds that a mean duration is kept between, so that no estimate is zero or infinite."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Requests, and the seconds that a replica was busy with them.

    Attributes:
        requests: How many it counts for; fewer than there were where they fade, or where it rests
            on fewer looks.
        busy: Seconds for which all slots together worked for them.
        length: Requests of the usual length that each of them stands for, on average.
    """

    requests: float = 0.0
    busy: float = 0.0
    length: float = 1.0

    @property
    def work(self) -> float:
        """How many requests of the usual length they amount to."""
        return self.requests * self.length

    @property
    def log(self) -> float:
        """The logarithm of the capacity that it shows, in usual requests per second."""
        return math.log(self.work / self.busy)

    @property
    def variance(self) -> float:
        """Of that logarithm."""
        return SPREAD**2 / self.requests + UNLIKE**2

    def __add__(self, other: "Evidence") -> "Evidence":
        requests = self.requests + other.requests
        length = (self.work + other.work) / requests if requests else 1.0
        return Evidence(requests, self.busy + other.busy, length)

    def faded(self, left: float) -> "Evidence":
        """As much as that counts, and says the same."""
        return Evidence(self.requests * left, self.busy * left, self.length)


NOTHING: Final = Evidence()


def evidence_of(
    requests: float,
    duration: float,
    seconds: float,
    slots: int,
    sharing: float,
    length: float = 1.0,
    looks: float | None = None,
) -> Evidence:
    """How long a replica was busy with some requests.

    A replica with c slots, L requests in flight and the mean duration R carries
    ``(c^q + L^q)^(1/q) / R`` with ``q = 1 + ½·log₂ c``. Idle it is c/R, saturated it is L/R = X,
    the rate itself; with one slot it is (1 + L)/R, which is exact for the M/M/1 queue, where
    L = ρ/(1−ρ) and R = 1/(μ−λ). With more, q keeps it within 10 % of the truth for M/M/c queues
    (Erlang C).

    An Envoy that compares live requests makes the replicas of a tier one queue in front of all
    their slots: nobody waits while another is idle, so there is less waiting at the same load.
    With several Envoys, each of which sees a part, it is so in part. So c and L are those of
    `sharing` replicas: 1 when each waits for itself, all of a tier behind a single Envoy.

    Args:
        requests: That ended, above 0.
        duration: Seconds that they took altogether, waiting included.
        seconds: In which they ended.
        slots: Of the replica.
        sharing: How many replicas, 1 or more, are as good as one queue.
        length: Of their texts on average, relative to what is usual.
        looks: That `duration` is summed over, above 0; None where it was measured.
    """
    latency = min(max(duration / requests, _BRIEFEST), _LONGEST)
    c = slots * sharing
    load = sharing * latency * (requests / max(seconds, _BRIEFEST) if seconds > 0 else 0.0)
    q = 1 + 0.5 * math.log2(c)
    high, low = max(c, load), min(c, load)
    carried = high * (1 + (low / high) ** q) ** (1 / q) / latency / sharing
    worth = requests if looks is None else min(requests, PER_LOOK * looks)
    return Evidence(worth, requests / carried, length * requests / worth)
