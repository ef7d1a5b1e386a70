"""Files of older versions are brought to ours, all of the way or not at all; others are refused."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from controlplane.fleet import AuditEntry, Registered, UnwrittenEntries, registered
from controlplane.store import StoreError
from controlplane.store import tables as schema
from controlplane.store.database import Database
from controlplane.store.tables import APPLICATION_ID, MIGRATIONS, pool_row, put, replica_row
from tests.fleet.fleets import a_pool
from tests.store.files import to_write

FLEET = a_pool(a=1, b=2)
ENTRIES = [AuditEntry(number, 1e9, '{"who":"x"}') for number in (1, 2, 3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plimsoll.db"


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def header(path: Path) -> tuple[int, int]:
    with connected(path) as connection:
        return (
            connection.execute("PRAGMA application_id").fetchone()[0],
            connection.execute("PRAGMA user_version").fetchone()[0],
        )


def tables(path: Path) -> set[str]:
    with connected(path) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    with closing(Database(path)) as database:
        database.load()
        yield database


def loaded_registered(path: Path) -> Registered:
    with closing(Database(path)) as database:
        return database.load().registered


def of_the_first_version(path: Path) -> None:
    """A file as the first version wrote it, without an audit log."""
    with connected(path) as connection:
        for step in MIGRATIONS[0]:
            connection.execute(step)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        kept = registered(FLEET)
        put(connection, "counters", [("generations", kept.generations)])
        put(connection, "pools", [(name, pool_row(pool)) for name, pool in kept.pools.items()])
        put(
            connection,
            "replicas",
            [(*key, replica_row(replica)) for key, replica in kept.replicas.items()],
        )


def test_a_new_file_says_whose_it_is_and_of_which_version(path: Path) -> None:
    loaded_registered(path)
    assert header(path) == (APPLICATION_ID, len(MIGRATIONS))


def test_a_file_of_the_first_version_keeps_what_is_in_it_and_takes_an_audit_log(
    path: Path,
) -> None:
    of_the_first_version(path)
    with closing(Database(path)) as database:
        found = database.load()
        assert (found.registered, found.audit, found.complaint) == (registered(FLEET), [], None)
        database.write(to_write(FLEET, FLEET), UnwrittenEntries(0, ENTRIES, 10))
    with closing(Database(path)) as database:
        assert database.load().audit == ENTRIES
    assert header(path) == (APPLICATION_ID, len(MIGRATIONS))


def test_a_step_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_the_first_version(path)
    with monkeypatch.context() as broken:
        steps = (*MIGRATIONS, ("CREATE TABLE half (x)", "CREATE TABLE half (x)"))
        broken.setattr(schema, "MIGRATIONS", steps)
        with pytest.raises(StoreError, match="half already exists"):
            loaded_registered(path)
    assert header(path) == (APPLICATION_ID, 1)
    assert tables(path) == {"counters", "pools", "replicas", "weighings"}
    assert loaded_registered(path) == registered(FLEET)


@pytest.mark.parametrize(
    "theirs",
    ["PRAGMA application_id = 7", "PRAGMA user_version = 1", "CREATE TABLE pools (x)"],
)
def test_whatever_shows_that_a_file_is_another_programs_it_is_left_alone(
    path: Path, theirs: str
) -> None:
    with connected(path) as connection:
        connection.execute(theirs)
    before = header(path), tables(path)
    with pytest.raises(StoreError, match="is a database of another program"):
        loaded_registered(path)
    assert (header(path), tables(path)) == before


def test_a_file_with_our_tables_and_another_header_is_damaged_and_put_aside(path: Path) -> None:
    of_the_first_version(path)
    with connected(path) as connection:
        connection.execute("PRAGMA application_id = 0")
    with closing(Database(path)) as database:
        found = database.load()
    assert "its header is not as it was written" in (found.complaint or "")
    assert path.with_name("plimsoll.db.damaged-1").exists()


@pytest.mark.parametrize("version", [len(MIGRATIONS) + 1, 1000])
def test_every_version_that_may_come_to_be_is_a_newer_one(path: Path, version: int) -> None:
    loaded_registered(path)
    with connected(path) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreError, match=f"version {version} of its tables"):
        loaded_registered(path)


def test_a_version_that_nobody_will_ever_have_is_damage(path: Path) -> None:
    loaded_registered(path)
    with connected(path) as connection:
        connection.execute("PRAGMA user_version = 1001")
    with closing(Database(path)) as database:
        assert "its header is not as it was written" in (database.load().complaint or "")


def test_of_the_audit_log_no_more_is_kept_than_is_to_be(path: Path) -> None:
    with opened(path) as database:
        database.write(to_write(None, FLEET), UnwrittenEntries(0, ENTRIES, 3))
        database.write(to_write(FLEET, FLEET), UnwrittenEntries(3, [AuditEntry(4, 1e9, "{}")], 3))
    with closing(Database(path)) as database:
        assert [item.number for item in database.load().audit] == [2, 3, 4]


def test_entries_that_give_way_are_gone_though_none_takes_their_place(path: Path) -> None:
    with opened(path) as database:
        database.write(to_write(None, FLEET), UnwrittenEntries(0, ENTRIES, 10))
        database.write(to_write(FLEET, FLEET), UnwrittenEntries(1, [], 10))
    with closing(Database(path)) as database:
        assert database.load().audit == ENTRIES[:1]


def test_a_write_that_fails_keeps_neither_the_change_nor_who_made_it(path: Path) -> None:
    with opened(path) as database:
        database.write(to_write(None, FLEET), UnwrittenEntries(0, ENTRIES[:1], 10))
        broken = AuditEntry(2, 0.0, b"who")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="bytes"):
            database.write(to_write(None, a_pool(c=3)), UnwrittenEntries(1, [broken], 10))
    with closing(Database(path)) as database:
        found = database.load()
    assert (found.registered, found.audit) == (registered(FLEET), ENTRIES[:1])
