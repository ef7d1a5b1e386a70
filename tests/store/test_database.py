"""One file: what is read is what was written, or it is said why not, and nothing is destroyed."""

import random
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from controlplane.fleet import Fleet, PutPool, Registered, registered
from controlplane.store import StoreError
from controlplane.store.database import Database, Loaded
from controlplane.store.tables import MIGRATIONS, WriteError
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.store.files import FLEET, filled, loaded, opened, to_write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plimsoll.db"


def test_a_file_that_is_not_there_is_made_and_is_empty(path: Path) -> None:
    assert loaded(path) == Loaded(lost=f"{path} is new, as on a first start")
    assert path.exists()


def test_what_was_written_is_read(path: Path) -> None:
    filled(path)
    assert loaded(path).registered == registered(FLEET)


def test_what_is_no_longer_there_is_no_longer_kept(path: Path) -> None:
    filled(path)
    with opened(path) as (database, _):
        database.write(to_write(FLEET, Fleet(generations=7)))
    assert loaded(path).registered == Registered(generations=7)


def test_weighings_are_kept_as_long_as_their_replicas(path: Path) -> None:
    filled(path)
    row = '{"generation":1,"shown":true,"weighing":{"weight":7}}'
    with opened(path) as (database, _):
        database.keep([("p", "", 100.0, "{}"), ("p", "a", 100.0, row), ("p", "b", 100.0, row)])
        database.write(to_write(FLEET, after(put("a", 1), fleet=a_pool())))
        database.keep([])
    found = loaded(path).weighings["p"]
    assert found.age > 1e9
    assert list(found.replicas) == ["a"]
    assert found.replicas["a"].weighing == {"weight": 7}


def test_a_file_in_use_is_said_to_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.store.database.WAIT", 0.05)
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
        database.write(to_write(None, FLEET))
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


def two_pools(**replicas: int) -> Fleet:
    """Pools p and q; these replicas are in q, and p has one that is called a."""
    one, other = PutPool("p", pool_settings()), PutPool("q", pool_settings(10_001))
    return after(one, other, put("a", 1), *(put(item, n, pool="q") for item, n in replicas.items()))


def test_a_whole_fleet_takes_the_place_of_pools_too(path: Path) -> None:
    filled(path, two_pools())
    filled(path, a_pool(z=9))
    assert loaded(path).registered == registered(a_pool(z=9))


def test_a_replica_that_went_leaves_the_one_of_its_name_in_another_pool_alone(path: Path) -> None:
    before, after_ = two_pools(a=2, b=3), two_pools(b=3)
    filled(path, before)
    row = '{"generation":1,"shown":true,"weighing":{}}'
    with opened(path) as (database, _):
        database.keep([(pool, id_, 1.0, row) for pool in "pq" for id_ in ("", "a")])
        database.write(to_write(before, after_))
        database.keep([])
    found = loaded(path)
    assert found.registered == registered(after_)
    assert {name: list(weighing.replicas) for name, weighing in found.weighings.items()} == {
        "p": ["a"],
        "q": [],
    }


def test_of_a_pool_without_replicas_no_weighing_is_kept(path: Path) -> None:
    filled(path, a_pool(a=1))
    with opened(path) as (database, _):
        database.keep([("p", "", 1.0, "{}")])
        database.write(to_write(a_pool(a=1), a_pool()))
        database.keep([])
    assert loaded(path).weighings == {}


def test_what_was_asked_for_waits_for_the_disk_and_weights_do_not(path: Path) -> None:
    """Nothing but the loss of power would show it: what was not flushed survives a kill."""
    with opened(path) as (database, _):
        connection = database._connection
        assert connection is not None

        def synchronous() -> object:
            return connection.execute("PRAGMA synchronous").fetchone()[0]

        database.write(to_write(None, FLEET))
        full = synchronous()
        database.keep([])
        assert (full, synchronous()) == (2, 1)
        database.write(to_write(FLEET, FLEET))
        assert synchronous() == 2
