"""What goes wrong with a database, told apart by what is to be done about it."""

from enum import StrEnum


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
    """Something could not be written; nothing of it is kept. The message says why."""

    def __init__(self, sentence: str, cause: Cause = Cause.OTHER) -> None:
        self.cause = cause
        super().__init__(sentence)


class DamagedError(Exception):
    """The file is not what was written to it. The message says how that shows."""
