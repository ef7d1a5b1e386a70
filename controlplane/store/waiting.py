"""Changes of the fleet that requests wait for, and what several of them come to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TypeAlias

from controlplane.config import SettingsError
from controlplane.fleet import Applied, Change, Fleet, Refused, keys_of_rows

Work: TypeAlias = Callable[[Fleet], Applied]
"""A change of a fleet."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A change that a request waits for; a sign of life counts whether it is written or not.

    Observers of the change run in the context of the request.
    """

    work: Work
    who: str
    is_kept: bool = False
    is_sign: bool = False
    context: Context = field(default_factory=copy_context)
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _fleet: Fleet | None = None
    _applied: Applied | None = None

    def on(self, fleet: Fleet) -> Applied:
        """Work out what it comes to on a fleet, or raise its refusal, once for each fleet."""
        if self._applied is None or self._fleet is not fleet:
            self._applied = self.work(fleet)
            self._fleet = fleet
        return self._applied

    def needs_disk(self, seen: Fleet) -> bool:
        """Whether the change is nothing as long as nothing can be written.

        A change that another one before it made already is a change to the fleet that is seen,
        which lacks what could not be written.
        """
        if self.is_kept or self.is_sign:
            return self.is_kept
        try:
            return any(keys_of_rows(self.on(seen).changes))
        except (Refused, SettingsError):
            return False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What changes come to, one after the other: each not refused, and who made which change."""

    before: Fleet
    steps: Sequence[tuple[Waiting, Applied]]
    made: Sequence[tuple[str, Change]]
    refused: Mapping[asyncio.Future[None], Exception]


def played(fleet: Fleet, batch: Sequence[Waiting]) -> Outcome:
    """Apply waiting changes to a fleet, one after the other."""
    before, steps, made = fleet, list[tuple[Waiting, Applied]](), list[tuple[str, Change]]()
    refused: dict[asyncio.Future[None], Exception] = {}
    for waiting in batch:
        try:
            applied = waiting.on(fleet)
        except (Refused, SettingsError) as error:
            refused[waiting.done] = error
            continue
        made += [(waiting.who, change) for change in applied.changes]
        steps.append((waiting, applied))
        fleet = applied.fleet
    return Outcome(before, steps, made, refused)
