"""The database for asyncio, in a thread of its own, and a log of its state."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from controlplane.fleet import Rows, UnwrittenEntries
from controlplane.store.database import Database, Loaded, Weighing
from controlplane.store.errors import Cause, WriteError

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
                "%s: what was registered before, if anything, is missing. Envoys keep what"
                " they hold until it is known again, or until no requests go there",
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
