"""What happens when in the demonstration, what it sends, and what a right answer is. Pure."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from random import Random
from typing import Final

from controlplane.tools.demo.layout import MODEL, SIDECARS
from controlplane.tools.load.http import Response
from controlplane.tools.load.schedule import Departure, Step, schedule

DIMENSIONS: Final = 384
_OFF_LENGTH: Final = 1e-3
"""How far from 1 the length of an embedding may be."""
_SEED: Final = 1876

SHORT: Final = (
    "load line of a ship",
    "How deep may a ship lie in salt water in winter?",
    "The harbour master closes the lock at half past six.",
    "opening hours of the maritime museum",
    "Which knot holds under load and still comes undone by hand?",
    "The cargo shifted during the night and the ship took on a list of four degrees.",
    "best bread flour for a long cold rise",
    "My order arrived without the charger.",
    "Why does my bicycle chain jump on the smallest sprocket?",
    "A cat asleep on a warm radiator, its tail over its nose.",
    "The recipe wants two eggs, but one large one is enough.",
    "ticket refund after a cancelled train",
    "Trams run every eight minutes until midnight, then every half an hour.",
    "The committee meets on the first Tuesday of the month.",
    "how to prune an old apple tree",
    "Rain is expected in the west, clearing towards the evening.",
    "The second violin comes in four bars too early.",
    "reset the password of a shared mailbox",
    "The printer says that the tray is empty, and it is not.",
    "Is a tomato a fruit if nobody puts it into a fruit salad?",
)

LONG: Final = (
    "Before the line became law, owners could load a ship as deeply as they liked, and insure her"
    " for more than she was worth. Sailors who refused to board a vessel that they believed would"
    " sink went to prison for it. The mark on the hull ended that: anybody on the quay could see"
    " whether she carried too much.",
    "To bleed the brakes, fill the reservoir to the upper mark and keep it there, because air that"
    " is drawn in at the top has to leave at the bottom again. Start at the wheel that is farthest"
    " away, open the nipple by a quarter of a turn while somebody holds the pedal down, and close"
    " it before the pedal comes up.",
    "The reading room on the second floor is open to everybody. Books from the closed stacks are"
    " brought up on the hour; please fill in one slip for each volume and write the shelf mark as"
    " the catalogue has it. Maps and manuscripts may be read at the four tables next to the desk,"
    " with a pencil.",
    "Sourdough is slower than yeast and forgives more. Feed the starter in the evening, mix the"
    " dough in the morning when it floats, fold it four times in two hours and let it rest in the"
    " cold overnight. Bake it in a hot pot, covered for the first twenty minutes and open for the"
    " rest.",
)

PART_LONG: Final = 0.1
"""Of all texts: request sizes vary, and a replica must not look slow for one long text."""


def text(chance: Random) -> str:
    return chance.choice(LONG if chance.random() < PART_LONG else SHORT)


def departures(step: Step) -> Iterator[Departure]:
    """Draw requests, to each sidecar in turn."""
    chance = Random(_SEED)  # noqa: S311 - decides about texts, not about secrets
    for number, (at, _) in enumerate(schedule([step], _SEED)):
        body = json.dumps({"model": MODEL, "input": text(chance)}).encode()
        yield Departure(at, step, number % SIDECARS, body)


def fault(response: Response) -> str | None:
    """Return what is wrong with an answer; None for one embedding of the right size and length."""
    if response.status != 200:
        return f"status {response.status}"
    try:
        vector = json.loads(response.body)["data"][0]["embedding"]
        length = math.sqrt(math.fsum(number * number for number in vector))
    except (ValueError, LookupError, TypeError):
        return "an answer without an embedding"
    if len(vector) != DIMENSIONS:
        return f"an embedding of {len(vector)} numbers"
    return None if abs(length - 1) <= _OFF_LENGTH else f"an embedding of length {length:.3g}"


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
