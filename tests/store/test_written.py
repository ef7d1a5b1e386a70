"""What a write leaves on disk: of several pools, of those that went, and how surely."""

from pathlib import Path

import pytest

from controlplane.fleet import Fleet, PutPool, registered
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.store.files import FLEET, filled, loaded, opened, to_write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plimsoll.db"


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
