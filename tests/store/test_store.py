"""A store says whether it can be written, and counts how its writes ended."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from sqlite3 import OperationalError

import pytest

from controlplane.store import Store
from controlplane.store.database import Database
from controlplane.store.store import OK
from controlplane.store.tables import Cause, WriteError
from tests.fleet.fleets import a_pool
from tests.store.files import to_write


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = Store(folder / "plimsoll.db")
    await store.load()
    yield store
    await store.close()


def counted(store: Store) -> dict[str, int]:
    """Those of which there were any."""
    return {result: count for result, count in store.results.items() if count}


def failing(name: str) -> Callable[..., None]:
    """An open of the database that fails as SQLite says it."""

    def fail(_: Database) -> None:
        error = OperationalError("it is so")
        error.sqlite_errorname = name  # as sqlite3 itself sets it
        raise error

    return fail


async def test_a_good_write_is_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert (counted(store), store.failure) == ({}, None)
        await store.write(to_write(None, a_pool(a=1)))
        await store.keep(list)
        assert (counted(store), store.failure) == ({OK: 2}, None)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("SQLITE_FULL", Cause.DISK_FULL),
        ("SQLITE_READONLY_DIRECTORY", Cause.NOT_WRITABLE),
        ("SQLITE_CANTOPEN", Cause.NOT_WRITABLE),
        ("SQLITE_IOERR_FSYNC", Cause.IO_ERROR),
        ("SQLITE_BUSY", Cause.BUSY),
        ("SQLITE_NOMEM", Cause.OTHER),
    ],
)
async def test_a_failed_write_is_counted_by_its_cause_until_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cause: Cause
) -> None:
    async with opened(tmp_path) as store:
        # As after anything else that went wrong: the next write opens it anew.
        await store._run(store._database.close)
        with monkeypatch.context() as broken:
            broken.setattr(Database, "_open", failing(name))
            for _ in range(2):
                with pytest.raises(WriteError):
                    await store.write(to_write(None, a_pool(a=1)))
        assert counted(store) == {cause: 2}
        assert store.failure == "plimsoll.db cannot be written: it is so"
        await store.write(to_write(None, a_pool(a=1)))
        assert counted(store) == {cause: 2, OK: 1}
        assert store.failure is None


async def test_a_file_that_could_not_be_opened_for_writing_is_a_failure_before_any_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "plimsoll.db")
    with monkeypatch.context() as broken:
        broken.setattr(Database, "_open", failing("SQLITE_CANTOPEN"))
        await store.load()
    assert "cannot be written" in (store.failure or "")
    await store.write(to_write(None, a_pool(a=1)))
    assert store.failure is None
    await store.close()


async def test_a_damaged_file_that_was_put_aside_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "plimsoll.db").write_bytes(b"no database" * 1000)
    async with opened(tmp_path) as store:
        assert store.failure is None
