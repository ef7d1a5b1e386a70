"""Files that others write, read so that none of them can stop the control plane.

A path may lead to anything: a pipe into which nobody writes, a device that never ends, a folder.
Only regular files are read, and no more of them than a bound.
"""

import os
import select
import stat
import time
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 32_000_000
"""More than any config that can be used has."""

PIPE_SECONDS: Final = 10.0
"""For all of a pipe to arrive."""

_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read_file(path: Path, most: int = MAX_BYTES) -> bytes:
    """Read a regular file.

    Raises:
        OSError: It cannot be read, has more than `most` bytes, or is no regular file.
    """
    # A device may act on being opened, so it is not; a pipe may have taken the file's place since.
    _check(path.stat(), most)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check(os.fstat(number), most)
        return _all_of(number, None, most)
    finally:
        os.close(number)


def read_once(path: Path) -> bytes:
    """Read a regular file or, to its end, a pipe such as that of a shell's ``<(command)``.

    Raises:
        OSError: See `read_file`; or nothing came through the pipe in time.
    """
    if not is_pipe(path):
        return read_file(path)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return _all_of(number, time.monotonic() + PIPE_SECONDS, MAX_BYTES)
    finally:
        os.close(number)


def is_pipe(path: Path) -> bool:
    """Tell whether a path leads to a pipe, of which every byte can be read only once."""
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except OSError:
        return False


def _check(status: os.stat_result, most: int) -> None:
    for is_one, kind in _KINDS:
        if is_one(status.st_mode):
            raise OSError(f"it is {kind} and no regular file")
    if status.st_size > most:
        raise OSError(f"it is longer than {most} bytes")


def _all_of(number: int, deadline: float | None, most: int) -> bytes:
    parts, size = list[bytes](), 0
    while size <= most:
        try:
            part = os.read(number, 1 << 20)
        except BlockingIOError:
            part = None
        # A pipe without a writer looks like one that has ended: one may still come.
        if part == b"" and (parts or deadline is None):
            return b"".join(parts)
        if part:
            parts.append(part)
            size += len(part)
        elif deadline is None or (left := deadline - time.monotonic()) <= 0:
            raise OSError("nothing more comes through it, and it does not end")
        else:
            select.select([number], [], [], min(left, 0.05))
            if part == b"":
                time.sleep(0.01)
    raise OSError(f"it is longer than {most} bytes")
