"""When which phase of a demonstration begins. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final

SLOWED_AT: Final = 0.35
RESTORED_AT: Final = 0.6
"""Parts of a round at which the replica is slowed down and brought back."""
ROUND: Final = 60.0
"""Seconds of a round when there is no end."""
SHORTEST: Final = 8.0
"""Seconds below which there is nothing to see: weights follow a window of 5 s."""


class Phase(StrEnum):
    """What is going on."""

    UNDISTURBED = "undisturbed"
    SLOWED = "slowed"
    RESTORED = "restored"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Act:
    """A phase and when it begins, in seconds from the start of the load."""

    at: float
    phase: Phase


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds from the start of the load."""

    since: float
    until: float


def acts(seconds: float) -> Iterator[Act]:
    """The acts in order; for 0 seconds, rounds without end."""
    for number in count():
        length = seconds or ROUND
        start = number * length
        yield Act(start, Phase.UNDISTURBED)
        yield Act(start + SLOWED_AT * length, Phase.SLOWED)
        yield Act(start + RESTORED_AT * length, Phase.RESTORED)
        if seconds:
            yield Act(seconds, Phase.OVER)
            return


def undisturbed(seconds: float) -> Span:
    """The whole first part."""
    return Span(0.0, SLOWED_AT * seconds)


def before(seconds: float) -> Span:
    """The end of the first part, when everything has settled."""
    return Span(SLOWED_AT / 2 * seconds, SLOWED_AT * seconds)


def after(seconds: float) -> Span:
    """The second half of the slowed part, when the weights have followed."""
    return Span((SLOWED_AT + RESTORED_AT) / 2 * seconds, RESTORED_AT * seconds)
