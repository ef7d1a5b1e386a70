"""What part of a pool's work its long requests are: assumed at first, then measured.

Nobody reports it, but it follows: only short requests reach slow replicas, and which part of the
short ones they get was told to Envoys. A few hundred requests are not enough: one that is very long
is as much work as twenty others, and what replicas did lags behind what they were told. So what
was measured is mixed with what lognormal lengths would give.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

SIGMA: Final = 1.0
"""Of the logarithm of lengths, which are taken for lognormal until the part is measured."""
ASSUMED: Final = 400.0
"""Requests that what is assumed is worth."""
SPREAD: Final = 1.2
"""Standard error of a part that one request shows; that of n is √n times smaller. By trial, for
lognormal lengths with sigma 1 of which slow replicas get six or eight of ten short ones: 0.9 to
1.3."""
SURE: Final = 2.0
"""Standard errors by which a part must be above a limit to be above it beyond doubt."""
KEPT: Final = 3000.0
"""Requests that are remembered; older ones fade."""


def multiple(part: float) -> float:
    """Times the mean length beyond which so much of the work is, of lognormal lengths.

    Work by length is lognormal as well, with a median of exp(sigma²/2) times the mean.
    """
    return math.exp(SIGMA**2 / 2 + SIGMA * NormalDist().inv_cdf(1 - min(max(part, 0.001), 0.999)))


def part_beyond(times: float) -> float:
    """The part of the work that is beyond so many times the mean length; `multiple` inverted."""
    return 1 - NormalDist().cdf((math.log(times) - SIGMA**2 / 2) / SIGMA)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was done since the threshold was set.

    Attributes:
        short: Tokens of short requests, by what slow replicas did.
        total: Tokens of all, meanwhile.
        requests: How many those were.
    """

    short: float = 0.0
    total: float = 0.0
    requests: float = 0.0

    def plus(self, short: float, total: float, requests: float) -> "Tally":
        """With what was done since; what is too long ago fades."""
        left = min(1.0, KEPT / max(self.requests + requests, 1.0))
        return Tally(
            self.short * left + short, self.total * left + total, self.requests * left + requests
        )

    def part(self, assumed: float) -> float:
        """The part of the work that is long, 0 to 1.

        Args:
            assumed: What it was taken for when the threshold was set.
        """
        return assumed + (self._seen - assumed) * self.requests / (self.requests + ASSUMED)

    def surely_exceeds(self, part: float) -> bool:
        """Whether that was more than this part, whatever was assumed."""
        return self.requests > 0 and self._seen > part + SURE * SPREAD / math.sqrt(self.requests)

    @property
    def _seen(self) -> float:
        return min(max(1 - self.short / self.total, 0.0), 1.0) if self.total else 0.0


NOTHING: Final = Tally()
