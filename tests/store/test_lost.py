"""A file that is lost, emptied, replaced or damaged is noticed; nothing answered goes with it."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.fleet import registered
from controlplane.store import StoreError
from controlplane.store.database import Database, Loaded
from controlplane.store.tables import Cause, WriteError
from tests.fleet.fleets import a_pool, after, put
from tests.store.files import FLEET, filled, loaded, opened, to_write
from tests.store.stubborn import kept, with_pool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plimsoll.db"


def deleted(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.open("wb").close()


def overwritten(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)


def replaced(path: Path) -> None:
    other = path.with_name("other.db")
    filled(other, a_pool(z=9))
    other.rename(path)


def copied_over(path: Path) -> None:
    other = path.with_name("other.db")
    filled(other, a_pool(z=9))
    shutil.copyfile(other, path)


def renamed(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def log_deleted(path: Path) -> None:
    path.with_name("plimsoll.db-wal").unlink()


def log_truncated(path: Path) -> None:
    path.with_name("plimsoll.db-wal").open("wb").close()


def all_deleted(path: Path) -> None:
    for each in path.parent.glob("plimsoll.db*"):
        each.unlink()


LOSSES = (
    deleted,
    truncated,
    overwritten,
    replaced,
    copied_over,
    renamed,
    log_deleted,
    log_truncated,
    all_deleted,
)


@pytest.mark.parametrize("lose", LOSSES)
async def test_what_is_answered_after_a_loss_is_on_disk_with_all_that_was_before(
    path: Path, lose: Callable[[Path], None]
) -> None:
    async with kept(path.parent) as here:
        await with_pool(here, "a")
        lose(path)
        await here.registry.apply(put("b", 2), 0.0)
        # As after a kill: what was answered is in the files that are there now.
        found = copy_of(path)
        assert found.registered == registered(here.plane.fleet)
        assert [item.number for item in found.audit] == list(range(1, here.audit.newest + 1))


@pytest.mark.parametrize("lose", LOSSES)
async def test_a_loss_is_noticed_while_nothing_is_written(
    path: Path, lose: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with kept(path.parent) as here:
        await with_pool(here, "a")
        await here.registry.look_at_file()
        assert "all that is known" not in caplog.text
        lose(path)
        await here.registry.look_at_file()
        assert "all that is known is written to a new file" in caplog.text
        await here.registry.close()
        assert copy_of(path).registered == registered(here.plane.fleet)


@pytest.mark.parametrize("lose", [overwritten, replaced, copied_over])
async def test_what_has_taken_its_place_is_kept_aside(
    path: Path, lose: Callable[[Path], None]
) -> None:
    async with kept(path.parent) as here:
        await with_pool(here, "a")
        lose(path)
        found = content(path)
        await here.registry.look_at_file()
        assert content(path.with_name("plimsoll.db.replaced-1")) == found


def content(path: Path) -> bytes:
    return path.read_bytes()


def test_a_program_that_writes_again_and_again_does_not_fill_the_disk(path: Path) -> None:
    with opened(path) as (database, _):
        for _ in range(100):
            overwritten(path)
            with pytest.raises(WriteError):
                database.look()
        assert len(list(path.parent.iterdir())) < 50


def test_a_file_whose_folder_has_gone_is_begun_when_there_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with opened(folder / "plimsoll.db") as (database, _):
        database.write(to_write(None, FLEET))
        shutil.rmtree(folder)
        with pytest.raises(WriteError) as error:
            database.write(to_write(FLEET, after(put("e", 5), fleet=FLEET)))
        assert error.value.cause is not Cause.LOST
        folder.mkdir()
        with pytest.raises(WriteError) as error:
            database.write(to_write(FLEET, after(put("e", 5), fleet=FLEET)))
        assert error.value.cause is Cause.LOST
        database.write(to_write(None, FLEET))
    assert loaded(folder / "plimsoll.db").registered == registered(FLEET)


def test_what_is_lost_while_it_is_written_is_not_said_to_be_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(path) as (database, _):
        database.write(to_write(None, FLEET))
        monkeypatch.setattr(
            "controlplane.store.database.put", lambda *_: path.unlink(missing_ok=True)
        )
        with pytest.raises(WriteError, match="is gone") as error:
            database.write(to_write(FLEET, after(put("e", 5), fleet=FLEET)))
        assert error.value.cause is Cause.LOST


def test_a_new_file_lacks_everything_until_everything_is_written(path: Path) -> None:
    with opened(path) as (database, _):
        database.write(to_write(None, FLEET))
        path.unlink()
        later = after(put("e", 5), fleet=FLEET)
        for _ in range(2):
            with pytest.raises(WriteError) as error:
                database.keep([])
            assert error.value.cause is Cause.LOST
        with pytest.raises(WriteError) as error:
            database.write(to_write(FLEET, later))
        assert error.value.cause is Cause.LOST
        database.write(to_write(None, later))
        database.keep([])
    assert loaded(path).registered == registered(later)


def emptied(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM replicas")
        connection.execute("DELETE FROM pools")
    connection.close()


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (deleted, "is new, as on a first start"),
        (truncated, "was empty"),
        (overwritten, "was damaged"),
        (replaced, "is not the file that was written here"),
        (copied_over, "is not the file that was written here"),
        (emptied, "has been emptied"),
    ],
)
def test_a_loss_is_said_at_the_start_until_what_was_lost_is_found(
    path: Path, lose: Callable[[Path], None], said: str
) -> None:
    filled(path)
    assert loaded(path).lost is None
    lose(path)
    assert said in (loaded(path).lost or "")
    assert loaded(path).lost is None, "Envoys may not have held anything that is missing"
    with opened(path) as (database, _):
        database.note_loss(is_lost=True)
    assert "was lost before" in (loaded(path).lost or "")
    with opened(path) as (database, _):
        database.note_loss(is_lost=False)
    assert loaded(path).lost is None


def test_a_kill_is_no_loss(path: Path) -> None:
    filled(path)
    with opened(path) as (database, _):
        database.write(to_write(None, FLEET))
        # What the files are like while it runs.
        shutil.copytree(path.parent, path.parent / "killed")
    killed = path.parent / "killed" / path.name
    with opened(killed) as (_, found):
        assert "a copy" in (found.lost or ""), "another file of the same content"
    subprocess.run(["mv", path, path.with_name("back")], check=True)  # noqa: S607
    subprocess.run(["mv", path.with_name("back"), path], check=True)  # noqa: S607
    assert loaded(path).lost is None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("odd", ["/dev/zero", "/dev/null", "pipe", "folder"])
def test_what_is_no_file_is_not_opened(path: Path, odd: str) -> None:
    if odd == "pipe":
        subprocess.run(["mkfifo", path], check=True)  # noqa: S607
    elif odd == "folder":
        path.mkdir()
    else:
        path.symlink_to(odd)
    with pytest.raises(StoreError, match="is no regular file"):
        Database(path).load()


def copy_of(path: Path) -> Loaded:
    """What somebody finds who starts with the files as they are."""
    folder = path.parent / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for each in path.parent.glob("plimsoll.db*"):
        shutil.copyfile(each, folder / each.name)
    return loaded(folder / path.name)
