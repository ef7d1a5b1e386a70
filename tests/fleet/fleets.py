"""Fleets for the tests: short ways to say commands, files and what is refused."""

from collections.abc import Mapping, Sequence

import pytest

from controlplane.fleet import Command, Fleet, PutPool, PutReplica, Refused, Replica, apply, declare
from controlplane.settings import Config, PoolSettings, ReplicaSettings, validated

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
        fleet = apply(fleet, command, now)
    return fleet


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
                        {"directory": {"path": it}} for it in (sources or {}).get(name, ())
                    ],
                }
                for name, replicas in pools.items()
            ]
        },
    )


def declared(config: Config, fleet: Fleet | None = None, now: float = 0.0) -> Fleet:
    return declare(Fleet() if fleet is None else fleet, config, now)


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
    return {id_: it.settings.address.port for id_, it in fleet.pool(pool).replicas.items()}
