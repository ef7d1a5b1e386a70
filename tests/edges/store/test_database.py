"""One file: what is read is what was written, or it is said why not, and nothing is destroyed."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from controlplane.edges.store.database import Database, Loaded
from controlplane.edges.store.errors import Cause, StoreError, WriteError
from controlplane.edges.store.schema import MIGRATIONS
from controlplane.fleet import Drain, Fleet, Registered, changes, discover, registered
from tests.fleet.fleets import a_pool, after, put, replica_settings

FLEET = discover(
    after(
        *(Drain("p", "b"), put("c", 3, ttl="1.5s", locality={"zone": "z"}, labels={"k": "v"})),
        fleet=a_pool(a=1, b=2),
    ),
    "p",
    {"dns x:1": {"d": replica_settings(4, slots=2, instance="one")}},
    lambda _: True,
    0.0,
).fleet


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plimsoll.db"


@contextmanager
def opened(path: Path) -> Iterator[tuple[Database, Loaded]]:
    database = Database(path)
    try:
        yield database, database.load()
    finally:
        database.close()


def filled(path: Path, fleet: Fleet = FLEET) -> None:
    with opened(path) as (database, _):
        database.write(changes(None, fleet))


def loaded(path: Path) -> Loaded:
    with opened(path) as (_, found):
        return found


def test_a_file_that_is_not_there_is_made_and_is_empty(path: Path) -> None:
    assert loaded(path) == Loaded()
    assert path.exists()


def test_what_was_written_is_read(path: Path) -> None:
    filled(path)
    assert loaded(path).registered == registered(FLEET)


def test_what_is_no_longer_there_is_no_longer_kept(path: Path) -> None:
    filled(path)
    with opened(path) as (database, _):
        database.write(changes(FLEET, Fleet(generations=7)))
    assert loaded(path).registered == Registered(generations=7)


def test_a_whole_fleet_takes_the_place_of_what_was_kept(path: Path) -> None:
    filled(path)
    filled(path, a_pool(z=9))
    assert loaded(path).registered == registered(a_pool(z=9))


def test_weighings_are_kept_as_long_as_their_replicas(path: Path) -> None:
    filled(path)
    row = '{"generation":1,"shown":true,"weighing":{"weight":7}}'
    with opened(path) as (database, _):
        database.keep([("p", "", 100.0, "{}"), ("p", "a", 100.0, row), ("p", "b", 100.0, row)])
        database.write(changes(FLEET, after(put("a", 1), fleet=a_pool())))
        database.keep([])
    found = loaded(path).weighings["p"]
    assert (found.kept_at, list(found.replicas)) == (100.0, ["a"])
    assert found.replicas["a"].weighing == {"weight": 7}


def test_a_file_says_whether_anything_was_ever_decided_with_it(path: Path) -> None:
    assert not loaded(path).has_served
    assert not loaded(path).has_served, "it was opened, and nothing decided"
    with opened(path) as (database, _):
        database.keep([])
    assert loaded(path).has_served


def test_a_file_in_use_is_said_to_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.edges.store.database.WAIT", 0.05)
    with opened(path), pytest.raises(StoreError, match="is in use by another process"):
        Database(path).load()


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="was written by a newer Plimsoll"):
        loaded(path)
    assert path.read_bytes() == before


def test_a_file_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="is a database of another program"):
        loaded(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    connection.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"the folder .*/none is not there"):
        Database(tmp_path / "none" / "plimsoll.db").load()


def test_what_is_no_database_is_kept_aside_and_another_one_begun(path: Path) -> None:
    path.write_bytes(b"not a database, but somebody's text" * 100)
    found = loaded(path)
    assert found.registered == Registered()
    assert found.complaint is not None
    assert "it is kept as" in found.complaint
    aside = path.with_name("plimsoll.db.damaged-1")
    assert aside.read_bytes().startswith(b"not a database")
    filled(path)
    assert loaded(path).registered == registered(FLEET)


def test_a_second_damaged_file_does_not_take_the_place_of_the_first(path: Path) -> None:
    for number in (1, 2):
        path.write_bytes(b"not a database %d" % number * 100)
        assert loaded(path).complaint
        assert b" %d" % number in path.with_name(f"plimsoll.db.damaged-{number}").read_bytes()


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_is_noticed_or_changes_nothing(path: Path, seed: int) -> None:
    filled(path)
    chance = random.Random(seed)  # noqa: S311 - the same damage with the same seed
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 4, 64])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    try:
        found = loaded(path)
    except StoreError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        # Of its version alone it may seem to be a newer one; then nobody has touched it.
        assert "newer" in refused
        assert path.read_bytes() == content
        return
    if found.registered != registered(FLEET):
        assert found.registered == Registered()
        assert found.complaint is not None
        assert path.with_name("plimsoll.db.damaged-1").read_bytes() == content
    with opened(path) as (database, _), suppress(WriteError):
        database.write(changes(None, FLEET))
        database.close()
        assert loaded(path).registered == registered(FLEET)


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.5, 0.7, 0.9])
def test_a_file_cut_short_is_noticed(path: Path, cut: float) -> None:
    filled(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    found = loaded(path)
    # An empty file is a database without tables; and its last page may hold nothing.
    is_whole = found.registered == registered(FLEET)
    assert is_whole or found.registered == Registered()
    assert bool(found.complaint) == (bool(cut) and not is_whole)


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
        "from tests.edges.store.test_database import *;"
        "database = Database(Path(sys.argv[1])); database.load();"
        "database.write(changes(None, FLEET)); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path])


def test_a_full_disk_is_said_and_nothing_of_a_write_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder):
        path = folder / "plimsoll.db"
        with opened(path) as (database, _):
            database.write(changes(None, FLEET))
            ballast = folder / "ballast"
            with suppress(OSError), ballast.open("wb", buffering=0) as full:
                while True:
                    full.write(bytes(1024))
            big = after(*(put(f"r{n}", 100 + n) for n in range(300)), fleet=FLEET)
            for _ in range(2):
                with pytest.raises(WriteError, match="database or disk is full") as full_disk:
                    database.write(changes(FLEET, big))
                assert full_disk.value.cause is Cause.DISK_FULL
            ballast.unlink()
            less = after(put("d", 4), fleet=FLEET)
            database.write(changes(FLEET, less))
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
                database.write(changes(None, a_pool()))
            # With a log to be written SQLite does not say more.
            assert read_only.value.cause in (Cause.NOT_WRITABLE, Cause.IO_ERROR)
            remount(folder, "rw")
            database.write(changes(None, a_pool(z=9)))
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
            database.write(changes(None, FLEET))
        assert loaded(path).registered == registered(FLEET)


def test_a_file_that_comes_after_the_start_is_not_written_over(tmp_path: Path) -> None:
    folder, other = tmp_path / "small", tmp_path / "plimsoll.db"
    folder.mkdir()
    with opened(other) as (database, _):
        database.write(changes(None, FLEET))
    with mounted(folder):
        path = folder / "plimsoll.db"
        remount(folder, "ro")
        with opened(path) as (database, found):
            assert "cannot be written" in (found.complaint or "")
            remount(folder, "rw")
            shutil.copyfile(other, path)
            for _ in range(2):
                with pytest.raises(WriteError, match="was not there at the start, and now it is"):
                    database.write(changes(None, a_pool(z=9)))
        assert loaded(path).registered == registered(FLEET)


def test_a_limit_on_file_sizes_is_a_full_disk(path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path;"
        "from tests.edges.store.test_database import *;"
        "database = Database(Path(sys.argv[1])); database.load();"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "database.write(changes(None, FLEET))"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "WriteError: plimsoll.db cannot be written:" in ended.stderr
    assert loaded(path).registered == Registered()
    assert os.listdir(path.parent) == ["plimsoll.db"]
