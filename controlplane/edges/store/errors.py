"""What goes wrong with a database, told apart by what is to be done about it."""


class StoreError(OSError):
    """The database cannot be used, and to start without it would lose what is in it."""


class WriteError(Exception):
    """Something could not be written; nothing of it is kept. The message says why."""


class DamagedError(Exception):
    """The file is not what was written to it. The message says how that shows."""
