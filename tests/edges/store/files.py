"""A fleet, and the file that it is kept in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from controlplane.edges.store.database import Database, Loaded
from controlplane.fleet import Drain, Fleet, changes, discover
from tests.fleet.fleets import a_pool, after, put, replica_settings

FLEET: Final = discover(
    after(
        *(Drain("p", "b"), put("c", 3, ttl="1.5s", locality={"zone": "z"}, labels={"k": "v"})),
        fleet=a_pool(a=1, b=2),
    ),
    "p",
    {"dns x:1": {"d": replica_settings(4, slots=2, instance="one")}},
    lambda _: True,
    0.0,
).fleet


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
