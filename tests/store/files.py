"""A fleet, and the file that it is kept in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from controlplane.fleet import Drain, Fleet, Rows, keys_of_rows, rows
from controlplane.store.database import Database, Loaded
from tests.fleet.fleets import a_pool, after, differences, discovered, put, replica_settings

FLEET: Final = discovered(
    after(
        *(Drain("p", "b"), put("c", 3, ttl="1.5s", locality={"zone": "z"}, labels={"k": "v"})),
        fleet=a_pool(a=1, b=2),
    ),
    "p",
    {"dns x:1": {"d": replica_settings(4, slots=2, instance="one")}},
    lambda _: True,
    0.0,
).fleet


def to_write(before: Fleet | None, after: Fleet) -> Rows:
    """What is to be written where one fleet is kept; None: where it is not known what is."""
    if before is None:
        return rows(after, None)
    return rows(after, set(keys_of_rows(tuple(differences(before, after)))))


@contextmanager
def opened(path: Path) -> Iterator[tuple[Database, Loaded]]:
    database = Database(path)
    try:
        yield database, database.load()
    finally:
        database.close()


def filled(path: Path, fleet: Fleet = FLEET) -> None:
    with opened(path) as (database, _):
        database.write(to_write(None, fleet))


def loaded(path: Path) -> Loaded:
    with opened(path) as (_, found):
        return found
