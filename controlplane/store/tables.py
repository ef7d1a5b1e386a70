"""The tables of the database: how a file of any version gets them, and rows in and out of them.

`PRAGMA user_version` counts versions. Every row has a checksum.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from controlplane.fleet import UnwrittenEntries
from controlplane.store import rows
from controlplane.store.errors import DamagedError, StoreError

APPLICATION_ID: Final = 0x506C696D
"""``Plim``: tells our files from those of other programs."""

# Every row has the checksum of what is in it: SQLite notices damage to its own structure only.
_FIRST: Final = (
    """CREATE TABLE counters (
        name TEXT PRIMARY KEY, value INTEGER NOT NULL, checksum INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE pools (
        pool TEXT PRIMARY KEY, data TEXT NOT NULL, checksum INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE replicas (
        pool TEXT, replica TEXT, data TEXT NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (pool, replica)
    ) WITHOUT ROWID""",
    """CREATE TABLE weighings (
        pool TEXT, replica TEXT, kept_at REAL NOT NULL, data TEXT NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (pool, replica)
    ) WITHOUT ROWID""",
)

_AUDIT: Final = (
    """CREATE TABLE audit (
        number INTEGER PRIMARY KEY, at REAL NOT NULL, data TEXT NOT NULL,
        checksum INTEGER NOT NULL
    )""",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST, _AUDIT)
"""What brings a file from each version to the next; the last one's number is ours."""


_NEWEST_THINKABLE: Final = 1000
"""A version beyond this is not a newer one."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file, in autocommit mode, to our version, all of the way or not at all.

    Raises:
        StoreError: The file is of a newer version, or of another program.
        DamagedError: Its header cannot be right.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application != APPLICATION_ID:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if tables >= {"counters", "pools", "replicas", "weighings"}:
            raise DamagedError("its header is not as it was written")
        if application or version or tables:
            raise StoreError(
                f"{path} is a database of another program; set store.path to a file of its own"
            )
    if version > _NEWEST_THINKABLE:
        raise DamagedError("its header is not as it was written")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer Plimsoll (version {version} of its tables, this one"
            f" knows {len(MIGRATIONS)}): start that one, or set store.path to another file"
        )
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for steps in MIGRATIONS[version:]:
            for step in steps:
                connection.execute(step)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def put(connection: sqlite3.Connection, table: str, values: Iterable[tuple[Any, ...]]) -> None:
    """Add rows, or replace those with the same keys."""
    found = [(*row, rows.checksum(table, *row)) for row in values]
    if found:
        marks = ", ".join("?" * len(found[0]))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", found)  # noqa: S608 - names of ours


def log_on(connection: sqlite3.Connection, audit: UnwrittenEntries) -> None:
    """Bring the audit log up to date, and drop what is too much of it."""
    connection.execute("DELETE FROM audit WHERE number > ?", (audit.after,))
    put(connection, "audit", [(entry.number, entry.at, entry.text) for entry in audit.entries])
    if audit.entries:
        oldest = audit.entries[-1].number - audit.most
        connection.execute("DELETE FROM audit WHERE number <= ?", (oldest,))


def read(connection: sqlite3.Connection, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Read all rows of a table, ordered by the first column; `DamagedError`: one has changed."""
    found = connection.execute(f"SELECT {columns}, checksum FROM {table} ORDER BY 1")  # noqa: S608 - names of ours
    return [rows.intact(table, row) for row in found]
