"""What SQLite's errors mean to whoever has to do something about them."""

import sqlite3
from typing import Final

from controlplane.edges.store.errors import Cause, DamagedError

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
    return next((it for start, it in _CAUSES.items() if name.startswith(start)), Cause.OTHER)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is not what was written to it."""
    name = getattr(error, "sqlite_errorname", "")
    return str(name).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process has the file."""
    name = getattr(error, "sqlite_errorname", "")
    return str(name).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
