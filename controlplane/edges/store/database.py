"""One SQLite file, used by one thread: opened, read once, and written to.

WAL with ``synchronous=FULL``: a commit that has returned is on disk, and a kill at any point leaves
either all of it or nothing. ``locking_mode=EXCLUSIVE``: nobody else writes what we have in memory.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from controlplane.edges.store import rows
from controlplane.edges.store.causes import cause_of, is_busy, is_damage
from controlplane.edges.store.errors import DamagedError, StoreError, WriteError
from controlplane.edges.store.schema import migrate
from controlplane.edges.store.tables import log_on, put, read
from controlplane.fleet import Changes, Entry, Registered, Unkept

WAIT: Final = 2.0
"""Seconds to wait for another process that still has the file: it may be about to end."""

_SERVED: Final = "served"

Weighing = tuple[str, str, float, str]
"""A row: the pool, the replica or nothing, seconds since 1970, and what `rows` made."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was in the file.

    Attributes:
        registered: Pools and replicas.
        weighings: By pool.
        audit: Who changed what, the oldest first.
        complaint: Why nothing can be written for now, or what has become of the file before; None
            where all is well.
        has_served: Whether anything was ever decided with this file: where nothing is in it then,
            nothing was lost.
    """

    registered: Registered = field(default_factory=Registered)
    weighings: dict[str, rows.KeptPool] = field(default_factory=dict)
    audit: list[Entry] = field(default_factory=list)
    complaint: str | None = None
    has_served: bool = False


class Database:
    """The file. Every method is to be called in the same thread."""

    def __init__(self, path: Path) -> None:
        """Prepare; `load` opens it."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        # Nothing was there to be read, and none could be made.
        self._was_missing = False

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and nothing has gone wrong since."""
        return self._connection is not None

    def load(self) -> Loaded:
        """Open the file, or make it, and read all of it.

        A damaged file is put aside and another one begun. A file that can be read and not written
        is read; writing is tried again each time.

        Raises:
            StoreError: To go on without what is in the file, or against its owner, would do harm.
        """
        if not self._path.parent.is_dir():
            raise StoreError(f"{self._path}: the folder {self._path.parent} is not there")
        try:
            self._connection = self._open()
            return self._read(self._connection)
        except (DamagedError, UnicodeDecodeError) as damage:
            # SQLite may repeat in a message what is no text any more.
            return Loaded(complaint=self._put_aside(str(damage)))
        except sqlite3.Error as error:
            self.close()
            if is_damage(error):
                return Loaded(complaint=self._put_aside(str(error)))
            if is_busy(error):
                raise StoreError(
                    f"{self._path} is in use by another process: is a second plimsoll running? Each"
                    " needs a store.path of its own"
                ) from None
            return self._read_only(error)

    def write(self, changes: Changes, audit: Unkept | None = None) -> None:
        """Write what is kept of a fleet; it is on disk when this returns.

        Args:
            changes: Of the fleet.
            audit: Who has made them.

        Raises:
            WriteError: Nothing of it is kept.
        """
        with self._writing("FULL") as connection:
            if changes.everything:
                connection.execute("DELETE FROM pools")
                connection.execute("DELETE FROM replicas")
            put(connection, "counters", [("generations", changes.generations)])
            put(
                connection,
                "pools",
                [(name, rows.pool_row(it)) for name, it in changes.pools.items() if it],
            )
            put(
                connection,
                "replicas",
                [(*key, rows.replica_row(it)) for key, it in changes.replicas.items() if it],
            )
            gone = [(name,) for name, it in changes.pools.items() if it is None]
            connection.executemany("DELETE FROM pools WHERE pool = ?", gone)
            left = [key for key, it in changes.replicas.items() if it is None]
            connection.executemany("DELETE FROM replicas WHERE pool = ? AND replica = ?", left)
            if audit is not None:
                log_on(connection, audit)

    def keep(self, weighings: Iterable[Weighing]) -> None:
        """Write what was decided about replicas; some of the newest may be lost with the power.

        Rows of replicas and pools that are no longer there go with it.

        Raises:
            WriteError: Nothing of it is kept.
        """
        with self._writing("NORMAL") as connection:
            put(connection, "counters", [(_SERVED, 1)])
            put(connection, "weighings", weighings)
            connection.execute(
                "DELETE FROM weighings WHERE replica != '' AND NOT EXISTS (SELECT 1 FROM replicas r"
                " WHERE r.pool = weighings.pool AND r.replica = weighings.replica)"
            )
            connection.execute(
                "DELETE FROM weighings WHERE replica = '' AND NOT EXISTS (SELECT 1 FROM replicas r"
                " WHERE r.pool = weighings.pool)"
            )

    def close(self) -> None:
        """Give the file back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=WAIT, isolation_level=None)
        # What is not UTF-8 any more is to fail its checksum, not to raise an error of its own.
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
            rows.registered(
                counters.get("generations", 0),
                read(connection, "pools", "pool, data"),
                read(connection, "replicas", "pool, replica, data"),
            ),
            rows.kept(read(connection, "weighings", "pool, replica, kept_at, data")),
            [Entry(*it) for it in read(connection, "audit", "number, at, data")],
            has_served=_SERVED in counters,
        )

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
                if (log := _beside(self._path, "-wal")).exists():
                    shutil.copyfile(log, _beside(copy, "-wal"))
                other = Database(copy)
                try:
                    other._connection = other._open()
                    found = other._read(other._connection)
                finally:
                    other.close()
        except (DamagedError, UnicodeDecodeError) as damage:
            return Loaded(complaint=self._put_aside(str(damage)))
        except (sqlite3.Error, OSError) as reason:
            if isinstance(reason, StoreError):
                raise
            raise StoreError(f"{self._path} cannot be read: {reason}") from None
        return replace(found, complaint=complaint)

    def _put_aside(self, damage: str) -> str:
        """Keep a damaged file under another name and begin a new one; returns what to say."""
        self.close()
        aside = _unused(_beside(self._path, ".damaged"))
        said = f"{self._path} is damaged ({damage})"
        try:
            self._path.rename(aside)
            for log in ("-wal", "-shm"):
                if _beside(self._path, log).exists():
                    _beside(self._path, log).rename(_beside(aside, log))
            said += f"; it is kept as {aside}, and nothing of it is used"
            self._connection = self._open()
        except (OSError, sqlite3.Error) as error:
            said += f"; nothing can be written either: {error}"
        return said

    def _refuse_unread(self, connection: sqlite3.Connection) -> None:
        """Leave a file alone that came after the start, say with its volume, and was not read.

        Raises:
            StoreError: There is something in it, and what we have would take its place.
        """
        (count,) = connection.execute(
            "SELECT (SELECT count(*) FROM pools) + (SELECT count(*) FROM replicas)"
        ).fetchone()
        if count:
            raise StoreError(
                "it was not there at the start, and now it is, with pools or replicas in it;"
                " restart to use them, or move it away"
            )

    @contextmanager
    def _writing(self, synchronous: str) -> Iterator[sqlite3.Connection]:
        """A transaction."""
        try:
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
        except (sqlite3.Error, DamagedError, StoreError, UnicodeDecodeError) as error:
            # Whatever is left of it must not become part of the next one: all anew.
            self.close()
            sentence = f"{self._path.name} cannot be written: {error}"
            raise WriteError(sentence, cause_of(error)) from None
        except BaseException:
            self.close()
            raise


def _check(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(str(found).splitlines()[0])


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _unused(path: Path) -> Path:
    number = 1
    while (found := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return found
