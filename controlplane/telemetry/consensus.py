"""How far each Envoy is believed of what it counts at a replica: one may be stuck, or lie.

Of three and more, the one in the middle says what is usual there, and the others are held to it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, median_low
from typing import Final

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

    @property
    def seconds(self) -> float:
        """Return the duration of a request by Little's law, on average or now if that is longer."""
        in_flight = max(self.in_progress, self.busy)
        if not in_flight:
            return 0.0
        return in_flight / self.rate if self.rate > 0 else math.inf


class Consensus:
    """The sum of the reports about one endpoint, each as far as it is believed."""

    __slots__ = ("_most_rate", "_on_average", "_recent", "_seconds")

    def __init__(self, recent: Sequence[Reporter]) -> None:
        """Ask the reporter in the middle of all that have requests there.

        Args:
            recent: The reporters whose last report counts.
        """
        self._recent = recent
        # A reporter with a greater rate than this is not believed.
        self._most_rate = math.inf
        # What a request takes, now if that is more than on average; and on average.
        self._seconds = self._on_average = math.inf
        used = [each for each in recent if each.in_progress or each.rate >= A_USER]
        if len(used) < FEW:
            return
        usual = median([each.rate for each in used])
        by_chance = usual + BY_CHANCE * math.sqrt(usual / MEMORY)
        self._most_rate = max(HELD * usual, by_chance)
        # How long requests take is asked of those whose count of them can be true.
        believed = [each for each in used if each.rate <= self._most_rate]
        self._seconds = median([each.seconds for each in believed])
        self._on_average = median(
            [each.busy / each.rate if each.rate > 0 else math.inf for each in believed]
        )

    def part_held(self, reporter: Reporter) -> float:
        """What counts of an Envoy's requests where shares are worked out, 0 to 1.

        An Envoy that counts more than can be believed counts as the average of the others.
        """
        if reporter.rate <= self._most_rate:
            return 1.0
        return fmean(each.rate for each in self._believed()) / reporter.rate

    def held_in_flight(self) -> float:
        """Requests in flight, as far as each Envoy is believed where shares are worked out."""
        if math.isinf(self._on_average):
            return self.in_flight()
        believed = self._believed()
        held = 0.0
        for reporter in believed:
            expected = reporter.rate * self._on_average
            # Held is the average: what is in flight at one moment varies.
            least, most = expected / HELD, expected * HELD
            count = float(reporter.in_progress)
            if reporter.busy > max(most, _LEAST):
                count *= most / reporter.busy
            elif reporter.busy < least:
                count = max(count, least)
            held += count
        return held * len(self._recent) / len(believed)

    def counted(self) -> Iterator[tuple[Reporter, float]]:
        """How much of what each Envoy has in flight counts: each is held to what most say.

        A stuck Envoy counts requests that never end, and a lying one says anything: none counts
        for more than `TIMES` what its requests would come to if they took as long as in the median
        of all. Where most of them see requests that do not end, none is held: then it is the
        replica.
        """
        if math.isinf(self._seconds):
            return ((each, each.in_progress) for each in self._recent)
        longest = TIMES * self._seconds
        return ((each, min(each.in_progress, 1 + longest * each.rate)) for each in self._recent)

    def in_flight(self) -> float:
        """Requests in flight, of all Envoys."""
        return float(sum(count for _, count in self.counted()))

    def _believed(self) -> list[Reporter]:
        return [each for each in self._recent if each.rate <= self._most_rate]


def part_failed(recent: Sequence[Reporter]) -> float | None:
    """The part of requests that failed lately, by the Envoy in the middle; None: nobody knows."""
    voters = [reporter for reporter in recent if reporter.ended >= A_VOTE]
    if len(voters) < max(min(FEW, len(recent)), 1):
        return None
    return median_low([voter.failed / voter.ended for voter in voters])
