"""Replicas by files: every YAML file of a folder has some, and all of them together are the set.

A file that cannot be read or is wrong keeps what it last had while it was right. One that is
deleted has none.
"""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from controlplane.config import (
    DirectorySettings,
    ReplicaEntry,
    ReplicaSettings,
    SettingsError,
    load_replicas,
)
from controlplane.discovery.source import Found, SourceError, listed

MAX_FILES: Final = 10_000
MAX_BYTES: Final = 8_000_000

_Stamp = tuple[int, ...]
_Entries = tuple[tuple[ReplicaEntry, int], ...]


@dataclass(frozen=True, slots=True)
class _File:
    """What a file had when it was read last.

    Attributes:
        stamp: Differs once the file is another one, or another's content.
        entries: Its replicas with their lines, while it was right.
        was_right: Whether any look found it right.
    """

    stamp: _Stamp | None
    entries: _Entries = ()
    problem: str | None = None
    was_right: bool = False

    def wrong(self, stamp: _Stamp | None, problem: str) -> "_File":
        """The same file with something in it that cannot be used: it keeps what it had."""
        return replace(self, stamp=stamp, problem=problem)


class DirectorySource:
    """Looks at a folder again and again: no notification works on every file system."""

    def __init__(self, settings: DirectorySettings, base: Path = Path()) -> None:
        self._folder = base / settings.path
        self._interval = settings.interval
        self._files: dict[str, _File] = {}
        self._found: Found | None = None

    async def sets(self) -> AsyncGenerator[Found, None]:
        """Yield the replicas of all files; see `Source`."""
        while True:
            files = await asyncio.to_thread(_look, self._folder, self._files)
            if self._found is None or files != self._files:
                self._files = files
                self._found = _put_together(files)
            yield self._found
            await asyncio.sleep(self._interval)


def _look(folder: Path, before: dict[str, _File]) -> dict[str, _File]:
    """Read the files that have changed."""
    try:
        names = sorted(
            each
            for each in os.listdir(folder)
            if each.endswith((".yaml", ".yml")) and each[0] != "."
        )
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed: {error.strerror or error}") from None
    if len(names) > MAX_FILES:
        raise SourceError(f"{folder} has more than {MAX_FILES} files; put replicas together")
    return {name: _read(folder / name, before.get(name, _File(None))) for name in names}


def _read(path: Path, before: _File) -> _File:
    try:
        status = path.stat()
        stamp = _stamp(status)
        if stamp == before.stamp:
            return before
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            problem = f"{path} is no file of at most {MAX_BYTES} bytes"
            return before.wrong(stamp, problem)
        entries = load_replicas(path.read_text(encoding="utf-8"), str(path))
        if _stamp(path.stat()) != stamp:
            # It was written while it was read; the next look sees it whole.
            return before
    except FileNotFoundError:
        # Gone since it was listed, or a link to nothing: the next look sees which.
        return before.wrong(None, f"{path} cannot be read: it leads to nothing")
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or error}"
        return before.wrong(None, problem)
    except UnicodeDecodeError:
        return before.wrong(stamp, f"{path} is not UTF-8 text")
    except SettingsError as error:
        return before.wrong(stamp, str(error))
    return _File(stamp, entries, was_right=True)


def _stamp(status: os.stat_result) -> _Stamp:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _put_together(files: dict[str, _File]) -> Found:
    """The replicas of all files; where two have one id or one address, the first file's."""
    found: dict[str, ReplicaSettings] = {}
    places: dict[object, str] = {}
    problems = [each.problem for each in files.values() if each.problem is not None]
    for name, file in files.items():
        for entry, line in file.entries:
            settings = entry.settings()
            for what in (("id", entry.id), ("address", settings.address)):
                if what in places:
                    problems.append(
                        f"{name}:{line}: {what[0]} {what[1]} is already that of {places[what]}"
                    )
                    break
            else:
                here = f"{name}:{line}"
                places |= {("id", entry.id): here, ("address", settings.address): here}
                found[entry.id] = settings
    # After a restart of ours nobody knows what was in a file that is wrong now.
    is_whole = all(each.was_right for each in files.values())
    return Found(found, listed(problems), is_whole)
