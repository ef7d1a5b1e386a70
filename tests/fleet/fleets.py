"""Fleets for the tests: short ways to say commands, files and what is refused."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from controlplane.config import Config, PoolSettings, ReplicaSettings, validated
from controlplane.fleet import (
    Applied,
    Change,
    Command,
    Draft,
    Fleet,
    Pool,
    PutPool,
    PutReplica,
    Refused,
    Replica,
    Sets,
    apply,
    declare,
    discover,
    expire,
)

Replicas = dict[str, int]
"""Ports on one host, by replica id."""


def pool_settings(port: int = 10000, model: str = "m") -> PoolSettings:
    body = {"model": model, "listener": {"address": f"127.0.0.1:{port}"}}
    return validated(PoolSettings, body)


def replica_settings(port: int, **more: object) -> ReplicaSettings:
    return validated(ReplicaSettings, {"address": f"127.0.0.1:{port}", **more})


def put(replica: str, port: int, *, pool: str = "p", **more: object) -> PutReplica:
    return PutReplica(pool, replica, replica_settings(port, **more))


def after(*commands: Command, fleet: Fleet | None = None, now: float = 0.0) -> Fleet:
    """The fleet after these commands."""
    fleet = Fleet() if fleet is None else fleet
    for command in commands:
        fleet = apply(fleet, command, now).fleet
    return fleet


def applied(fleet: Fleet, command: Command, now: float) -> Fleet:
    return apply(fleet, command, now).fleet


def a_pool(**replicas: int) -> Fleet:
    """Pool p with these replicas, through the API."""
    return after(PutPool("p", pool_settings()), *(put(id_, port) for id_, port in replicas.items()))


def file(
    *,
    listeners: dict[str, int] | None = None,
    sources: Mapping[str, Sequence[str]] | None = None,
    **pools: Replicas,
) -> Config:
    """A config file.

    Args:
        listeners: Their ports by pool, where they are not the usual.
        sources: Folders in which more replicas are found, by pool.
        pools: The replicas of each.
    """
    ports = {name: 10000 + index for index, name in enumerate(sorted(pools))} | (listeners or {})
    return validated(
        Config,
        {
            "pools": [
                {
                    "name": name,
                    "model": "m",
                    "listener": {"address": f"127.0.0.1:{ports[name]}"},
                    "replicas": [
                        {"id": id_, "address": f"127.0.0.1:{port}"}
                        for id_, port in replicas.items()
                    ],
                    "discovery": [
                        {"directory": {"path": item}} for item in (sources or {}).get(name, ())
                    ],
                }
                for name, replicas in pools.items()
            ]
        },
    )


def declared(config: Config, fleet: Fleet | None = None, now: float = 0.0) -> Fleet:
    return declare(Fleet() if fleet is None else fleet, config, now).fleet


def expired(fleet: Fleet, now: float, looked: float | None = None) -> Fleet:
    return expire(fleet, now, looked).fleet


class Discovered(NamedTuple):
    """A fleet after a pool's sources have answered."""

    fleet: Fleet
    withheld: tuple[str, ...]
    clashes: tuple[str, ...]


def discovered(
    fleet: Fleet,
    name: str,
    sets: Sets,
    serves: Callable[[Replica], bool],
    now: float,
    parts: Collection[str] = (),
    **more: object,
) -> Discovered:
    draft = Draft(fleet)
    merged = discover(draft, name, sets, serves, now, parts, **more)  # type: ignore[arg-type]
    return Discovered(draft.applied().fleet, merged.withheld, merged.clashes)


def differences(before: Fleet, after: Fleet) -> Iterator[Change]:
    """By which two fleets differ, found by comparing all of them; a lease is no difference."""
    old, new = dict(_entries(before)), dict(_entries(after))
    for key in sorted({*old, *new}, key=lambda key: (key in new, key[1] is not None)):
        goes_with_its_pool = key[1] is not None and key[0] not in after.pools
        if not goes_with_its_pool and _declared(old.get(key)) != _declared(new.get(key)):
            yield Change(*key, old.get(key), new.get(key))


def _entries(fleet: Fleet) -> Iterator[tuple[tuple[str, str | None], Pool | Replica]]:
    for name, pool in fleet.pools.items():
        yield (name, None), pool
        yield from (((name, id_), item) for id_, item in pool.replicas.items())


def _declared(what: Pool | Replica | None) -> tuple[object, ...] | None:
    if what is None:
        return None
    shared = (what.settings, what.source, what.layers)
    if isinstance(what, Pool):
        return shared
    return (*shared, what.generation, what.draining, what.found_by)


def refusal(command: Command, fleet: Fleet) -> Refused:
    with pytest.raises(Refused) as refused:
        apply(fleet, command, 0.0)
    return refused.value


def file_refusal(config: Config, fleet: Fleet) -> Refused:
    with pytest.raises(Refused) as refused:
        declare(fleet, config, 0.0)
    return refused.value


def replica(fleet: Fleet, id_: str = "a", pool: str = "p") -> Replica:
    return fleet.pool(pool).replica(id_)


def ports(fleet: Fleet, pool: str = "p") -> Replicas:
    """The port of every replica of a pool."""
    return {id_: item.settings.address.port for id_, item in fleet.pool(pool).replicas.items()}


def without_pool(fleet: Fleet, name: str) -> Applied:
    """A pool goes, whoever has declared it."""
    draft = Draft(fleet)
    draft.remove_pool(name)
    return draft.applied()


def without_replica(fleet: Fleet, pool: str, id_: str) -> Applied:
    """A replica goes, whoever has declared it."""
    draft = Draft(fleet)
    draft.put_replicas(pool, {}, (id_,))
    return draft.applied()
