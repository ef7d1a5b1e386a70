"""How far each Envoy is believed of what it counts at a replica: one may be stuck, or lie.

Of three and more, the one in the middle says what is usual there, and the others are held to it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, median_low
from typing import Final, NamedTuple

FEW: Final = 3
"""Below so many reporters there is no majority that could say who of them is wrong."""
TIMES: Final = 4.0
"""How many times as long as in the median its requests may take by one reporter's count."""
HELD: Final = 1.5
"""How many times as many requests as the one in the middle a reporter may count to be believed
where shares are worked out; and within how many times the usual seconds these took."""
BY_CHANCE: Final = 3.0
"""Standard errors of its rate over `MEMORY` seconds by which one may count more than the one in the
middle: Envoys with few requests each differ by chance (Poisson)."""
MEMORY: Final = 10.0
"""Seconds over which a reporter's requests are averaged for that: at one moment most of those with
little traffic have nothing in flight."""
A_USER: Final = 0.01
"""Requests per second of an Envoy that counts among those whose middle is taken."""
A_VOTE: Final = 0.05
"""Requests lately with which an Envoy has a say in whether a replica fails: those that have sent it
some, until it was left out, still have one when it comes back."""
_LEAST: Final = 1e-9


@dataclass(slots=True)
class Reporter:
    """One Envoy's view of one endpoint.

    Attributes:
        until: Seconds of a monotonic clock until which its last report counts.
        rate: Requests per second that end, over `MEMORY`.
        busy: Requests in progress, on average over it.
        ended: Requests that ended lately.
    """

    in_progress: float = 0
    of_classes: Mapping[str, float] = field(default_factory=dict)
    until: float = -math.inf
    rate: float = 0.0
    busy: float = 0.0
    ended: float = 0.0
    failed: float = 0.0

    def is_believed(self, usual_rate: float) -> bool:
        """Whether it counts no more requests than one may that sends more than is usual."""
        if math.isinf(usual_rate):
            return True
        by_chance = usual_rate + BY_CHANCE * math.sqrt(usual_rate / MEMORY)
        return self.rate <= max(HELD * usual_rate, by_chance)

    @property
    def seconds(self) -> float:
        """What a request takes by its count (Little's law), on average or now if that is more."""
        in_flight = max(self.in_progress, self.busy)
        if not in_flight:
            return 0.0
        return in_flight / self.rate if self.rate > 0 else math.inf


class _Usual(NamedTuple):
    """What the Envoy in the middle says of a replica; infinite where there is none.

    Attributes:
        seconds: That one takes, on average or now if that is more.
        on_average: That one takes on average.
    """

    rate: float
    seconds: float
    on_average: float


def _usual(recent: Sequence[Reporter]) -> _Usual:
    used = [reporter for reporter in recent if reporter.in_progress or reporter.rate >= A_USER]
    if len(used) < FEW:
        return _Usual(math.inf, math.inf, math.inf)
    rate = median(reporter.rate for reporter in used)
    # How long requests take is asked of those whose count of them can be true.
    believed = [reporter for reporter in used if reporter.is_believed(rate)]
    on_average = [
        reporter.busy / reporter.rate if reporter.rate > 0 else math.inf for reporter in believed
    ]
    return _Usual(rate, median(reporter.seconds for reporter in believed), median(on_average))


def part_held(reporter: Reporter, recent: Sequence[Reporter]) -> float:
    """What counts of an Envoy's requests where shares are worked out, 0 to 1.

    One that counts more than can be believed is taken for the average of those that do not.
    """
    usual = _usual(recent).rate
    if reporter.is_believed(usual):
        return 1.0
    return (
        fmean(reporter.rate for reporter in recent if reporter.is_believed(usual)) / reporter.rate
    )


def part_failed(recent: Sequence[Reporter]) -> float | None:
    """The part of requests that failed lately, by the Envoy in the middle; None: nobody knows."""
    voters = [reporter for reporter in recent if reporter.ended >= A_VOTE]
    if len(voters) < max(min(FEW, len(recent)), 1):
        return None
    return median_low([voter.failed / voter.ended for voter in voters])


def held_in_flight(recent: Sequence[Reporter]) -> float:
    """Requests in flight, as far as each Envoy is believed where shares are worked out."""
    usual = _usual(recent)
    if math.isinf(usual.on_average):
        return in_flight(recent)
    believed = [reporter for reporter in recent if reporter.is_believed(usual.rate)]
    held = 0.0
    for reporter in believed:
        expected = reporter.rate * usual.on_average
        # Held is the average: what is in flight at one moment varies.
        least, most = expected / HELD, expected * HELD
        count = float(reporter.in_progress)
        if reporter.busy > max(most, _LEAST):
            count *= most / reporter.busy
        elif reporter.busy < least:
            count = max(count, least)
        held += count
    return held * len(recent) / len(believed)


def counted(recent: Sequence[Reporter]) -> Iterator[tuple[Reporter, float]]:
    """How much of what each Envoy has in flight counts: each is held to what most of them say.

    A stuck Envoy counts requests that never end, and a lying one says anything: none counts for
    more than `TIMES` what its requests would come to if they took as long as in the median of all.
    Where most of them see requests that do not end, none is held: then it is the replica.
    """
    seconds = _usual(recent).seconds
    for reporter in recent:
        most = math.inf if math.isinf(seconds) else 1 + TIMES * seconds * reporter.rate
        yield reporter, min(reporter.in_progress, most)


def in_flight(recent: Sequence[Reporter]) -> float:
    """Requests in flight, of all Envoys."""
    return float(sum(count for _, count in counted(recent)))
