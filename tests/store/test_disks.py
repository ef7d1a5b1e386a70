"""Disks that are full, read-only or not there yet: it is said, and nothing is destroyed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from controlplane.fleet import Registered, registered
from controlplane.store.tables import Cause, WriteError
from tests.fleet.fleets import a_pool, after, put
from tests.store.files import FLEET, loaded, opened, to_write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plimsoll.db"


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A small file system of its own, where this is allowed."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder],  # noqa: S607
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)  # noqa: S607


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)  # noqa: S607


def killed_after_writing(path: Path) -> None:
    """Leave a file whose newest content is in its log alone, as after a kill."""
    code = (
        "import os, sys; from pathlib import Path;"
        "from tests.store.files import *;"
        "database = Database(Path(sys.argv[1])); database.load();"
        "database.write(to_write(None, FLEET)); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path])


def test_a_full_disk_is_said_and_nothing_of_a_write_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder):
        path = folder / "plimsoll.db"
        with opened(path) as (database, _):
            database.write(to_write(None, FLEET))
            ballast = folder / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as full:
                while True:
                    full.write(bytes(1024))
            big = after(*(put(f"r{n}", 100 + n) for n in range(300)), fleet=FLEET)
            for _ in range(2):
                with pytest.raises(WriteError, match="database or disk is full") as full_disk:
                    database.write(to_write(FLEET, big))
                assert full_disk.value.cause is Cause.DISK_FULL
            ballast.unlink()
            less = after(put("d", 4), fleet=FLEET)
            database.write(to_write(FLEET, less))
        assert loaded(path).registered == registered(less)


def test_a_file_that_cannot_be_written_is_read_even_after_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder):
        path = folder / "plimsoll.db"
        killed_after_writing(path)
        remount(folder, "ro")
        with opened(path) as (database, found):
            assert found.registered == registered(FLEET)
            assert "cannot be written" in (found.complaint or "")
            with pytest.raises(WriteError) as read_only:
                database.write(to_write(None, a_pool()))
            # With a log to be written SQLite does not say more.
            assert read_only.value.cause in (Cause.NOT_WRITABLE, Cause.IO_ERROR)
            remount(folder, "rw")
            database.write(to_write(None, a_pool(z=9)))
        assert loaded(path).registered == registered(a_pool(z=9))


def test_a_file_that_cannot_be_made_is_made_when_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder):
        path = folder / "plimsoll.db"
        remount(folder, "ro")
        with opened(path) as (database, found):
            assert "cannot be written" in (found.complaint or "")
            remount(folder, "rw")
            database.write(to_write(None, FLEET))
        assert loaded(path).registered == registered(FLEET)


def test_a_file_that_comes_after_the_start_is_not_written_over(tmp_path: Path) -> None:
    folder, other = tmp_path / "small", tmp_path / "plimsoll.db"
    folder.mkdir()
    with opened(other) as (database, _):
        database.write(to_write(None, FLEET))
    with mounted(folder):
        path = folder / "plimsoll.db"
        remount(folder, "ro")
        with opened(path) as (database, found):
            assert "cannot be written" in (found.complaint or "")
            remount(folder, "rw")
            shutil.copyfile(other, path)
            for _ in range(2):
                with pytest.raises(WriteError, match="was not there at the start, and now it is"):
                    database.write(to_write(None, a_pool(z=9)))
        assert loaded(path).registered == registered(FLEET)


def test_a_limit_on_file_sizes_is_a_full_disk(path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path;"
        "from tests.store.files import *;"
        "database = Database(Path(sys.argv[1])); database.load();"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "database.write(to_write(None, FLEET))"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "WriteError: plimsoll.db cannot be written:" in ended.stderr
    assert loaded(path).registered == Registered()
    assert os.listdir(path.parent) == ["plimsoll.db"]
