"""Changes of the fleet that somebody waits for, and what several of them come to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from controlplane import fleet as fleets
from controlplane.fleet import Fleet, Noted, Refused
from controlplane.settings import SettingsError

Change: TypeAlias = Callable[[Fleet], Fleet]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that somebody waits for."""

    change: Change
    who: str
    is_kept: bool
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What changes come to, one after the other.

    Attributes:
        before: The fleet before the first of them.
        after: The last one.
        noted: Who has changed what.
        refused: By who waits.
    """

    before: Fleet
    after: Fleet
    noted: Sequence[Noted]
    refused: Mapping[asyncio.Future[None], Exception]


def played(fleet: Fleet, batch: Sequence[Waiting]) -> Outcome:
    """What those who wait would make of a fleet."""
    before, noted = fleet, list[Noted]()
    refused: dict[asyncio.Future[None], Exception] = {}
    for waiting in batch:
        try:
            after = waiting.change(fleet)
        except (Refused, SettingsError) as error:
            refused[waiting.done] = error
            continue
        noted += [(waiting.who, it) for it in fleets.differences(fleet, after)]
        fleet = after
    return Outcome(before, fleet, noted, refused)
