"""The database for asyncio, in a thread of its own, and a log of its state."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from controlplane.config import SettingsError
from controlplane.fleet import Applied, Change, Fleet, Refused, Rows, UnwrittenEntries, keys_of_rows
from controlplane.store.database import Database, Loaded, Weighing
from controlplane.store.tables import Cause, WriteError

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
        """Whether the change must be refused while nothing can be written.

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


_log = logging.getLogger(__name__)

OK: Final = "ok"
"""How a write ended that is on disk."""

T = TypeVar("T")


class Store:
    """A file that outlives us. `load` it first, and `close` it before the event loop ends.

    Attributes:
        failure: Why nothing can be written, by the last attempt; None: it can.
        results: How many writes there were, by how they ended: `OK`, or why they failed.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self.failure: str | None = None
        self.results: dict[str, int] = dict.fromkeys((OK, *Cause), 0)

    @property
    def begun(self) -> int:
        """How often a new file was begun because the last was lost; all must be written then."""
        return self._database.begun

    async def load(self) -> Loaded:
        """Read everything in the file, see `Database.load`."""
        loaded = await self._run(self._database.load)
        if loaded.lost is not None:
            _log.warning(
                "%s: replicas that were registered before are missing. Envoys keep what they"
                " hold until these replicas are known again, or get no more requests",
                loaded.lost,
            )
        if loaded.complaint is not None:
            _log.error("%s", loaded.complaint)
            if not self._database.is_open:
                self.failure = loaded.complaint
        return loaded

    async def write(self, changes: Rows, audit: UnwrittenEntries | None = None) -> None:
        """Write what a store holds of a fleet, see `Database.write`."""
        await self._tried(lambda: self._database.write(changes, audit))

    async def keep(self, weighings: Callable[[], Sequence[Weighing]]) -> None:
        """Write rows that are made in the thread of the database, see `Database.keep`."""
        await self._tried(lambda: self._database.keep(weighings()))

    async def look(self) -> None:
        """See that the file is still there, see `Database.look`."""
        await self._tried(self._database.look, counts=False)

    async def note_loss(self, *, is_lost: bool) -> None:
        """Note what is missing for the next start, see `Database.note_loss`."""
        await self._tried(partial(self._database.note_loss, is_lost=is_lost))

    async def close(self) -> None:
        """Give the file back."""
        await self._run(self._database.close)
        self._thread.shutdown()

    async def _tried(self, write: Callable[[], None], *, counts: bool = True) -> None:
        try:
            await self._run(write)
        except WriteError as error:
            if self.failure is None or error.cause is Cause.LOST:
                _log.error(
                    "%s; everything is served on from memory%s",
                    error,
                    "" if error.cause is Cause.LOST else ", and changes are refused",
                )
            self.failure = str(error)
            self.results[error.cause] += 1
            raise
        if counts:
            self.results[OK] += 1
            if self.failure is not None:
                _log.warning("the database can be written again")
                self.failure = None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
