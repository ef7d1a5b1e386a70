"""Rows of the database: pools, replicas and weighings, as JSON with a checksum."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from zlib import crc32

from controlplane.config import (
    PoolSettings,
    ReplicaSettings,
    SettingsError,
    parse_address,
    validated,
)
from controlplane.config.pool import given_data
from controlplane.fleet import Draining, Registered, RegisteredPool, RegisteredReplica
from controlplane.plane import RestartPool, RestartReplica
from controlplane.store.errors import DamagedError, StoreError

SettingsT = TypeVar("SettingsT", PoolSettings, ReplicaSettings)


def checksum(*values: object) -> int:
    """Of a row without it."""
    return crc32(json.dumps(values, separators=(",", ":")).encode())


def intact(table: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row without its checksum, the last column; `DamagedError`: it is not the row's."""
    *values, found = row
    if checksum(table, *values) != found:
        raise DamagedError(f"a row of its table {table} is not as it was written")
    return tuple(values)


def pool_row(pool: RegisteredPool) -> str:
    """The row of a pool."""
    return as_text({"settings": given_data(pool.settings), "overrides": sorted(pool.overrides)})


def replica_row(replica: RegisteredReplica) -> str:
    """The row of a replica."""
    return as_text(
        {
            "address": str(replica.address),
            "instance": replica.instance,
            "generation": replica.generation,
            "draining": replica.draining,
            "settings": given_data(replica.settings) if replica.settings else None,
            "overrides": sorted(replica.overrides),
            "found_by": replica.found_by,
            "owner": replica.owner,
        }
    )


def registered(
    generations: int, pools: Iterable[tuple[str, str]], replicas: Iterable[tuple[str, str, str]]
) -> Registered:
    """Read pools and replicas; `StoreError`: a row is whole, but not allowed (any more)."""
    return Registered(
        generations,
        {name: _pool(name, json.loads(data)) for name, data in pools},
        {(pool, id_): _replica(f"{pool}/{id_}", json.loads(data)) for pool, id_, data in replicas},
    )


def weighings(
    rows: Iterable[tuple[str, str, float, str]], wall_now: float
) -> dict[str, RestartPool]:
    """Read weighings; the row of a pool itself has no replica's id.

    The wall clock tells how old they are; where it was set back, none has an age.
    """
    pools: dict[str, RestartPool] = {}
    replicas: dict[str, dict[str, RestartReplica]] = {}
    # The empty id sorts first.
    for pool, id_, at, text in sorted(rows, key=lambda row: row[:2]):
        data = json.loads(text)
        if not id_:
            replicas[pool] = {}
            pools[pool] = RestartPool(max(wall_now - at, 0.0), data, replicas[pool])
        elif pool in pools:
            replicas[pool][id_] = RestartReplica(
                data["generation"], data["shown"], data["weighing"]
            )
    return pools


def _pool(name: str, data: dict[str, Any]) -> RegisteredPool:
    settings = _settings(PoolSettings, data["settings"], f"pool {name!r}")
    return RegisteredPool(settings, frozenset(data["overrides"]))


def _replica(name: str, data: dict[str, Any]) -> RegisteredReplica:
    settings = data["settings"]
    return RegisteredReplica(
        parse_address(data["address"]),
        data["instance"],
        data["generation"],
        Draining(data["draining"]) if data["draining"] else None,
        None if settings is None else _settings(ReplicaSettings, settings, f"replica {name!r}"),
        frozenset(data["overrides"]),
        data["found_by"],
        # Earlier versions kept none.
        data.get("owner"),
    )


def _settings(model: type[SettingsT], data: dict[str, Any], owner: str) -> SettingsT:
    try:
        return validated(model, data)
    except SettingsError as error:
        raise StoreError(
            f"what is kept of {owner} cannot be used by this version: {error}; start the version"
            " that wrote it, and change that through its API"
        ) from None


def as_text(data: Mapping[str, Any]) -> str:
    """Write the data of a row."""
    return json.dumps(data, separators=(",", ":"))
