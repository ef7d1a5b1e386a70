"""The errors of a database, by what follows from each."""

from enum import StrEnum
from typing import Final


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
