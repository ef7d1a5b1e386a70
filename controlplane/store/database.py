"""One SQLite file, used by one thread: opened, read once, and written to.

WAL with ``synchronous=FULL``: a commit that has returned is on disk, and a kill at any point leaves
either all of it or nothing. ``locking_mode=EXCLUSIVE``: nobody else writes what we have in memory.
"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from controlplane.fleet import AuditEntry, Registered, Rows, UnwrittenEntries
from controlplane.plane import RestartPool
from controlplane.store import tables
from controlplane.store.files import Files, beside
from controlplane.store.tables import (
    Cause,
    DamagedError,
    StoreError,
    WriteError,
    cause_of,
    log_on,
    migrate,
    pool_row,
    put,
    read,
    replica_row,
)

WAIT: Final = 2.0
"""Seconds to wait for another process that still has the file: it may be about to end."""

_LOST: Final = "lost"
_FILLED: Final = "filled"
_FILE: Final = "file"
"""Counters: whether something was lost that has not been found again, whether there are pools or
replicas, and which file it is."""

Weighing = tuple[str, str, float, str]
"""A row: the pool, the replica or nothing, seconds since 1970, and what `tables` made."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was in the file.

    Attributes:
        complaint: Why nothing can be written for now, or what has become of the file before.
        lost: Why there may have been more than is in it, be it before an earlier start.
        is_missing: Whether Envoys were seen to hold it.
    """

    registered: Registered = field(default_factory=Registered)
    weighings: Mapping[str, RestartPool] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)
    complaint: str | None = None
    lost: str | None = None
    is_missing: bool = False


class Database:
    """The file. Call every method in the same thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = Files(path)
        self._connection: sqlite3.Connection | None = None
        # Nothing was there to be read, and none could be made.
        self._was_missing = False
        # What has become of the file, while another one has not been begun.
        self._lost: str | None = None
        # Nothing of what is known has been written to the file that was begun.
        self._is_bare = False
        self.begun = 0

    @property
    def is_open(self) -> bool:
        """Whether the database is open and no fault has closed it."""
        return self._connection is not None

    def look(self) -> None:
        """See that the file is the one written last; else begin another, and raise `WriteError`."""
        if self._files.are_known:
            with self._failing():
                self._keep_whole()

    def load(self) -> Loaded:
        """Open the file, or make it, and read all of it.

        A damaged file is put aside and another one begun. A file that can be read and not written
        is read; writing is tried again each time.

        Raises:
            StoreError: To go on without what is in the file, or against its owner, would do harm.
        """
        if not self._path.parent.is_dir():
            raise StoreError(f"{self._path}: the folder {self._path.parent} is not there")
        if self._path.exists() and not self._path.is_file():
            raise StoreError(f"{self._path} is no regular file; set store.path to one")
        try:
            size = self._files.size
            self._connection = self._open()
            found = self._read(self._connection)
            return self._marked(found, size)
        except (DamagedError, UnicodeDecodeError) as damage:
            # SQLite may repeat in a message what is no text any more.
            return self._of_damaged(str(damage))
        except sqlite3.Error as error:
            self.close()
            if cause_of(error) is Cause.DAMAGED:
                return self._of_damaged(str(error))
            if cause_of(error) is Cause.BUSY:
                raise StoreError(
                    f"{self._path} is in use by another process: is a second plimsoll running? Each"
                    " needs a store.path of its own"
                ) from None
            return self._read_only(error)

    def write(self, changes: Rows, audit: UnwrittenEntries | None = None) -> None:
        """Write what a store holds of a fleet, and who changed it; on disk when this returns."""
        with self._writing("FULL", is_all=changes.everything) as connection:
            put(connection, "counters", [("generations", changes.generations)])
            pools = {(name,): each and pool_row(each) for name, each in changes.pools.items()}
            replicas = {key: each and replica_row(each) for key, each in changes.replicas.items()}
            for table, is_key, found in (
                ("pools", "pool = ?", pools),
                ("replicas", "pool = ? AND replica = ?", replicas),
            ):
                if changes.everything:
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
                put(connection, table, [(*key, row) for key, row in found.items() if row])
                gone = [key for key, row in found.items() if row is None]
                connection.executemany(f"DELETE FROM {table} WHERE {is_key}", gone)  # noqa: S608 - names of ours
            put(connection, "counters", [(_FILLED, _is_filled(connection))])
            if audit is not None:
                log_on(connection, audit)
        self._is_bare = False

    def keep(self, weighings: Iterable[Weighing]) -> None:
        """Write what was decided about replicas; some of the newest may be lost with the power.

        Rows of replicas and pools that are no longer there go with it.
        """
        with self._writing("NORMAL") as connection:
            put(connection, "weighings", weighings)
            connection.execute(
                "DELETE FROM weighings WHERE replica != '' AND NOT EXISTS (SELECT 1 FROM replicas r"
                " WHERE r.pool = weighings.pool AND r.replica = weighings.replica)"
            )
            connection.execute(
                "DELETE FROM weighings WHERE replica = '' AND NOT EXISTS (SELECT 1 FROM replicas r"
                " WHERE r.pool = weighings.pool)"
            )

    def note_loss(self, *, is_lost: bool) -> None:
        """Note for the next start whether Envoys hold what is missing here."""
        with self._writing("FULL") as connection:
            put(connection, "counters", [(_LOST, int(is_lost))])

    def close(self) -> None:
        """Give the file back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            is_ours = self._files.are_known and self._files.exchanged() is None
            with suppress(sqlite3.Error):
                connection.close()
            # What was not written back before is now.
            if is_ours:
                self._files.note()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=WAIT, isolation_level=None)
        # Damaged UTF-8 must fail its checksum, not raise another error.
        connection.text_factory = lambda text: text.decode(errors="replace")
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            # In this mode the first reader has the file for itself until it closes it.
            migrate(connection, self._path)
            _check(connection)
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        return connection

    def _read(self, connection: sqlite3.Connection) -> Loaded:
        counters = dict(read(connection, "counters", "name, value"))
        return Loaded(
            tables.registered(
                counters.get("generations", 0),
                read(connection, "pools", "pool, data"),
                read(connection, "replicas", "pool, replica, data"),
            ),
            tables.weighings(
                read(connection, "weighings", "pool, replica, kept_at, data"), time.time()
            ),
            [AuditEntry(*each) for each in read(connection, "audit", "number, at, data")],
            lost=self._lost_by(counters, _is_filled(connection)),
            is_missing=bool(counters.get(_LOST)),
        )

    def _lost_by(self, counters: Mapping[str, int], is_filled: int) -> str | None:
        """Why there may have been more than a file has that was read."""
        if counters.get(_FILLED, 0) > is_filled:
            return f"{self._path} has been emptied"
        if counters.get(_FILE, self._files.number) != self._files.number:
            return f"{self._path} is not the file that was written here: another one, or a copy"
        if counters.get(_LOST):
            return f"{self._path} was lost before, and not all of it has been found again since"
        return None

    def _marked(self, found: Loaded, size: int | None) -> Loaded:
        """Note in the file what is missing from it; `size`: its bytes before it was opened."""
        if size is None:
            found = replace(found, lost=f"{self._path} is new, as on a first start")
        elif size == 0:
            found = replace(found, lost=f"{self._path} was empty")
        self._files.note()
        with suppress(WriteError), self._writing("NORMAL") as connection:
            marks = [(_FILE, self._files.number), (_FILLED, _is_filled(connection))]
            put(connection, "counters", marks)
        return found

    def _of_damaged(self, damage: str) -> Loaded:
        """Nothing, as the file is damaged; another one is begun in its place."""
        complaint = self._put_aside(damage)
        found = Loaded(complaint=complaint, lost=f"{self._path} was damaged")
        if self._connection is None:
            return found
        return replace(self._marked(found, None), lost=found.lost)

    def _read_only(self, error: sqlite3.Error) -> Loaded:
        """What can be read of a file that cannot be written, or of none that could be made."""
        complaint = f"{self._path} cannot be written: {error}"
        if not self._path.exists():
            self._was_missing = True
            return Loaded(complaint=complaint)
        # SQLite wants to lock and to write where there is a log to be played back, so it gets a
        # copy of both.
        try:
            with tempfile.TemporaryDirectory(prefix="plimsoll-") as folder:
                copy = Path(folder, "copy.db")
                shutil.copyfile(self._path, copy)
                if (log := beside(self._path, "-wal")).exists():
                    shutil.copyfile(log, beside(copy, "-wal"))
                other = Database(copy)
                try:
                    other._connection = other._open()
                    found = other._read(other._connection)
                finally:
                    other.close()
        except (DamagedError, UnicodeDecodeError) as damage:
            return self._of_damaged(str(damage))
        except (sqlite3.Error, OSError) as reason:
            if isinstance(reason, StoreError):
                raise
            raise StoreError(f"{self._path} cannot be read: {reason}") from None
        return replace(found, complaint=complaint)

    def _put_aside(self, damage: str) -> str:
        """Keep a damaged file under another name and begin a new one; returns what to say."""
        self.close()
        complaint = f"{self._path} is damaged ({damage})"
        try:
            aside = self._files.put_aside(".damaged")
            complaint += f"; it is kept as {aside}, and nothing of it is used"
            self._connection = self._open()
        except (OSError, sqlite3.Error) as error:
            complaint += f"; nothing can be written either: {error}"
        return complaint

    def _keep_whole(self) -> None:
        """Begin another file if this is not the one that was written last: all is in memory too."""
        self._lost = self._lost or self._files.difference()
        if self._lost is None:
            return
        complaint = f"{self._path} {self._lost}"
        # What has taken its place is somebody's, so it is kept. It is copied, as closing writes to
        # the file that was opened, which may still be this one.
        if (aside := self._files.copy_aside(".replaced")) is not None:
            complaint += f"; what is there is kept as {aside}"
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        self._files.remove()
        self._connection = self._open()
        self._files.note()
        put(self._connection, "counters", [(_FILE, self._files.number)])
        self._files.note()
        self._lost, self._is_bare, self._was_missing = None, True, False
        self.begun += 1
        raise WriteError(f"{complaint}; all that is known is written to a new file", Cause.LOST)

    def _refuse_unread(self, connection: sqlite3.Connection) -> None:
        """Leave a file with content alone that came after the start, say with its volume."""
        (count,) = connection.execute(
            "SELECT (SELECT count(*) FROM pools) + (SELECT count(*) FROM replicas)"
        ).fetchone()
        if count:
            raise StoreError(
                "it was not there at the start, and now it is, with pools or replicas in it;"
                " restart to use them, or move it away"
            )

    @contextmanager
    def _writing(self, synchronous: str, *, is_all: bool = False) -> Iterator[sqlite3.Connection]:
        """Hold a transaction on the file that was written last; a new file first needs all."""
        with self._failing():
            if self._files.are_known:
                self._keep_whole()
            if self._is_bare and not is_all:
                raise WriteError(f"{self._path.name} is new: it lacks what is known", Cause.LOST)
            if self._connection is None:
                self._connection = self._open()
            connection = self._connection
            if self._was_missing:
                self._refuse_unread(connection)
                self._was_missing = False
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
            # What is written to a file that is gone is not kept, whatever SQLite says.
            self._lost = self._files.exchanged()
            if self._lost is not None:
                raise WriteError(f"{self._path} {self._lost}", Cause.LOST)
            self._files.note()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """While this is open, an error closes the file."""
        try:
            yield
        except (sqlite3.Error, DamagedError, OSError, UnicodeDecodeError) as error:
            # Whatever is left of it must not become part of the next one: all anew.
            self.close()
            if self._files.are_known and cause_of(error) is Cause.DAMAGED:
                self._lost = f"is damaged ({error})"
            sentence = f"{self._path.name} cannot be written: {error}"
            raise WriteError(sentence, cause_of(error)) from None
        except WriteError:
            raise
        except BaseException:
            self.close()
            raise


def _check(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(str(found).splitlines()[0])


def _is_filled(connection: sqlite3.Connection) -> int:
    """Whether there are pools or replicas; a look at one row of each."""
    found = "SELECT EXISTS(SELECT 1 FROM pools) OR EXISTS(SELECT 1 FROM replicas)"
    return int(connection.execute(found).fetchone()[0])
