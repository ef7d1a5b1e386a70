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
    """A change that somebody waits for.

    Attributes:
        change: What is to be done to the fleet.
        who: Waits.
        is_kept: Something of it has to be written, after all that was asked for before.
        is_sign: It is a sign of life, which counts whether it is written or not.
        done: When it is answered.
    """

    change: Change
    who: str
    is_kept: bool
    is_sign: bool
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def needs_disk(self, seen: Fleet) -> bool:
        """Whether it is nothing as long as nothing can be written.

        What changes nothing behind another that asked for the same is a change without that one.

        Args:
            seen: The fleet that everybody sees, without what could not be written.
        """
        if self.is_kept or self.is_sign:
            return self.is_kept
        try:
            after = self.change(seen)
        except (Refused, SettingsError):
            return False
        return bool(fleets.changes(seen, after))


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
