"""The tables of the database: how a file of any version gets them, and rows in and out of them.

`PRAGMA user_version` counts versions. Every row is JSON, with a checksum.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar
from zlib import crc32

from controlplane.config import (
    PoolSettings,
    ReplicaSettings,
    SettingsError,
    parse_address,
    validated,
)
from controlplane.config.pool import given_data
from controlplane.fleet import (
    Draining,
    Registered,
    RegisteredPool,
    RegisteredReplica,
    UnwrittenEntries,
)
from controlplane.plane import RestartPool, RestartReplica


class StoreError(OSError):
    """The database cannot be used, and to start without it would lose what is in it."""


class Cause(StrEnum):
    """Why something could not be written."""

    DISK_FULL = "disk_full"
    NOT_WRITABLE = "not_writable"
    IO_ERROR = "io_error"
    DAMAGED = "damaged"
    BUSY = "busy"
    LOST = "lost"
    OTHER = "other"


class WriteError(Exception):
    """Something could not be written, and nothing of it is on disk. The message says why."""

    def __init__(self, sentence: str, cause: Cause = Cause.OTHER) -> None:
        self.cause = cause
        super().__init__(sentence)


class DamagedError(Exception):
    """The file is not what was written to it. The message says how that shows."""


_CAUSES: Final = {
    "SQLITE_FULL": Cause.DISK_FULL,
    "SQLITE_READONLY": Cause.NOT_WRITABLE,
    "SQLITE_CANTOPEN": Cause.NOT_WRITABLE,
    "SQLITE_PERM": Cause.NOT_WRITABLE,
    "SQLITE_IOERR": Cause.IO_ERROR,
    "SQLITE_CORRUPT": Cause.DAMAGED,
    "SQLITE_NOTADB": Cause.DAMAGED,
    "SQLITE_BUSY": Cause.BUSY,
    "SQLITE_LOCKED": Cause.BUSY,
}
"""By how the names of SQLite's errors begin."""


def cause_of(error: Exception) -> Cause:
    """Why something could not be written."""
    if isinstance(error, (DamagedError, UnicodeDecodeError)):
        return Cause.DAMAGED
    name = str(getattr(error, "sqlite_errorname", ""))
    return next((each for start, each in _CAUSES.items() if name.startswith(start)), Cause.OTHER)


SettingsT = TypeVar("SettingsT", PoolSettings, ReplicaSettings)

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
    found = [(*row, checksum(table, *row)) for row in values]
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
    return [intact(table, row) for row in found]


def checksum(*values: object) -> int:
    """Of a row without it."""
    return crc32(json.dumps(values, separators=(",", ":")).encode())


def intact(table: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row without its checksum, the last column; `DamagedError`: it is not the row's."""
    *values, found = row
    if checksum(table, *values) != found:
        raise DamagedError(f"a row of its table {table} is not as it was written")
    return tuple(values)


def pool_row(pool: RegisteredPool) -> str:
    """The row of a pool."""
    return as_text({"settings": given_data(pool.settings), "overrides": sorted(pool.overrides)})


def replica_row(replica: RegisteredReplica) -> str:
    """The row of a replica."""
    return as_text(
        {
            "address": str(replica.address),
            "instance": replica.instance,
            "generation": replica.generation,
            "draining": replica.draining,
            "settings": given_data(replica.settings) if replica.settings else None,
            "overrides": sorted(replica.overrides),
            "found_by": replica.found_by,
            "owner": replica.owner,
        }
    )


def registered(
    generations: int, pools: Iterable[tuple[str, str]], replicas: Iterable[tuple[str, str, str]]
) -> Registered:
    """Read pools and replicas; `StoreError`: a row is whole, but not allowed (any more)."""
    return Registered(
        generations,
        {name: _pool(name, json.loads(data)) for name, data in pools},
        {(pool, id_): _replica(f"{pool}/{id_}", json.loads(data)) for pool, id_, data in replicas},
    )


def weighings(
    rows: Iterable[tuple[str, str, float, str]], wall_now: float
) -> dict[str, RestartPool]:
    """Read weighings; the row of a pool itself has no replica's id.

    The wall clock tells how old they are; where it was set back, none has an age.
    """
    pools: dict[str, RestartPool] = {}
    replicas: dict[str, dict[str, RestartReplica]] = {}
    # The empty id sorts first.
    for pool, id_, at, text in sorted(rows, key=lambda row: row[:2]):
        data = json.loads(text)
        if not id_:
            replicas[pool] = {}
            pools[pool] = RestartPool(max(wall_now - at, 0.0), data, replicas[pool])
        elif pool in pools:
            replicas[pool][id_] = RestartReplica(
                data["generation"], data["shown"], data["weighing"]
            )
    return pools


def _pool(name: str, data: dict[str, Any]) -> RegisteredPool:
    settings = _settings(PoolSettings, data["settings"], f"pool {name!r}")
    return RegisteredPool(settings, frozenset(data["overrides"]))


def _replica(name: str, data: dict[str, Any]) -> RegisteredReplica:
    settings = data["settings"]
    return RegisteredReplica(
        parse_address(data["address"]),
        data["instance"],
        data["generation"],
        Draining(data["draining"]) if data["draining"] else None,
        None if settings is None else _settings(ReplicaSettings, settings, f"replica {name!r}"),
        frozenset(data["overrides"]),
        data["found_by"],
        # Earlier versions kept none.
        data.get("owner"),
    )


def _settings(model: type[SettingsT], data: dict[str, Any], owner: str) -> SettingsT:
    try:
        return validated(model, data)
    except SettingsError as error:
        raise StoreError(
            f"what is kept of {owner} cannot be used by this version: {error}; start the version"
            " that wrote it, and change that through its API"
        ) from None


def as_text(data: Mapping[str, Any]) -> str:
    """Write the data of a row."""
    return json.dumps(data, separators=(",", ":"))
