"""The files of a database on disk: whether they are still the ones that were written last.

SQLite keeps its files open and trusts its memory of them. So it goes on to write, and says that all
is well, when they were deleted, replaced or overwritten by another program.
"""

import shutil
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

MOST_ASIDE: Final = 32
"""Files that are kept under other names; a program that writes here again and again would fill the
disk with them."""


class _Stamp(NamedTuple):
    """A file as it was seen."""

    device: int
    inode: int
    size: int
    changed: int


class Files:
    """A database file and its log."""

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, beside(path, "-wal")
        self._noted: tuple[_Stamp | None, _Stamp | None] | None = None

    @property
    def are_known(self) -> bool:
        """Whether they were ever noted."""
        return self._noted is not None

    @property
    def size(self) -> int | None:
        """Bytes of the database; None where there is none."""
        stamp = _stamp(self._path)
        return None if stamp is None else stamp.size

    @property
    def number(self) -> int:
        """Tells the file from another at this path, and from itself at another path."""
        stamp = _stamp(self._path)
        inode = 0 if stamp is None else stamp.inode
        return crc32(f"{inode} {self._path.resolve()}".encode(errors="surrogateescape"))

    def note(self) -> None:
        """Take them to be as they should be."""
        self._noted = _stamp(self._path), _stamp(self._log)

    def difference(self) -> str | None:
        """What has become of them since they were noted; None: nothing.

        Of the log only the size is compared: not all that is written to it is on disk at once, and
        some file systems say only then when it was written.
        """
        if (exchanged := self.exchanged()) is not None or self._noted is None:
            return exchanged
        noted, log = self._noted
        now = _stamp(self._path)
        if now is not None and noted is not None and now != noted:
            return "has been emptied" if now.size == 0 else "was written by another program"
        after = _stamp(self._log)
        if log is not None and after is not None and log.size != after.size:
            return "was written by another program: its log has another size"
        return None

    def exchanged(self) -> str | None:
        """How they have become other files than the noted ones, or none; None: they have not."""
        if self._noted is None:
            return None
        noted, log = self._noted
        now, after = _stamp(self._path), _stamp(self._log)
        if noted is not None and now is None:
            return "is gone"
        if noted is not None and now is not None and now[:2] != noted[:2]:
            return "has been replaced by another file"
        if log is not None and (after is None or after[:2] != log[:2]):
            return "has lost its log"
        return None

    def put_aside(self, suffix: str) -> Path:
        """Rename them; returns the database's new name."""
        aside = _unused(beside(self._path, suffix))
        self._path.rename(aside)
        for ending in ("-wal", "-shm"):
            if beside(self._path, ending).exists():
                beside(self._path, ending).rename(beside(aside, ending))
        return aside

    def copy_aside(self, suffix: str) -> Path | None:
        """Copy a database with content, and a log that is not ours; returns where to."""
        if not self.size:
            return None
        aside = _unused(beside(self._path, suffix))
        shutil.copyfile(self._path, aside)
        ours, log = self._noted[1] if self._noted else None, _stamp(self._log)
        if log is not None and (ours is None or log[:2] != ours[:2]):
            shutil.copyfile(self._log, beside(aside, "-wal"))
        return aside

    def remove(self) -> None:
        for path in (self._path, self._log, beside(self._path, "-shm")):
            path.unlink(missing_ok=True)


def beside(path: Path, suffix: str) -> Path:
    """A file of another name in the same folder."""
    return path.with_name(path.name + suffix)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _unused(path: Path) -> Path:
    for number in range(1, MOST_ASIDE + 1):
        if not (found := path.with_name(f"{path.name}-{number}")).exists():
            return found
    raise OSError(f"{MOST_ASIDE} files are kept as {path.name}-… already: move them away")
