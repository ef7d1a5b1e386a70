"""What is sent for each operation of the API. Pure; `connection` sends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import quote, urlencode

from controlplane.api.schema import operations as ops
from controlplane.api.schema.operations import IF_MATCH, IF_NONE_MATCH, Operation
from controlplane.config import PoolSettings, ReplicaSettings


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        query: The parameters; None leaves one out.
        headers: The headers of `operation` to send; None leaves one out.
    """

    operation: Operation
    names: tuple[str, ...] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    @property
    def target(self) -> str:
        """Path and query as they are sent; names may hold any character."""
        quoted = [quote(name, safe="") for name in self.names]
        path = self.operation.path.format_map(dict(zip(("pool", "replica"), quoted, strict=False)))
        pairs = [(key, text) for key, value in self.query.items() for text in _texts(value)]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def asking(self, **query: Any) -> Self:
        """The same call with other parameters."""
        return replace(self, query={**self.query, **query})

    def dry(self) -> Self:
        """The call for the preview of the same change."""
        return self.asking(dry_run=True)


def put_pool(
    pool: str, settings: PoolSettings | Mapping[str, Any], if_match: str | None, *, create: bool
) -> Call:
    """Put all settings of a pool."""
    headers = {IF_MATCH: if_match, IF_NONE_MATCH: "*" if create else None}
    return Call(ops.PUT_POOL, (pool,), headers=headers, body=plain(settings))


def delete_pool(pool: str, if_match: str | None) -> Call:
    """Remove a pool, or what was put over one of the config file."""
    return Call(ops.DELETE_POOL, (pool,), headers={IF_MATCH: if_match})


def put_replica(
    pool: str,
    replica: str,
    settings: ReplicaSettings | Mapping[str, Any],
    if_match: str | None,
    *,
    create: bool,
) -> Call:
    """Put all settings of a replica."""
    headers = {IF_MATCH: if_match, IF_NONE_MATCH: "*" if create else None}
    return Call(ops.PUT_REPLICA, (pool, replica), headers=headers, body=plain(settings))


def put_replicas(
    pool: str, replicas: Mapping[str, ReplicaSettings | Mapping[str, Any]], *, force: bool
) -> Call:
    """Put all settings of many replicas, by id."""
    entries = [{**plain(settings), "id": id_} for id_, settings in replicas.items()]
    query = {"force": force or None}
    return Call(ops.PUT_REPLICAS, (pool,), query, body={"replicas": entries})


def delete_replica(pool: str, replica: str, if_match: str | None, *, force: bool) -> Call:
    """Remove a replica, or what was put over one of the config file."""
    query = {"force": force or None}
    return Call(ops.DELETE_REPLICA, (pool, replica), query, {IF_MATCH: if_match})


def act(operation: Operation, pool: str, replica: str, if_match: str | None) -> Call:
    """Drain a replica, take that back, or renew its lease."""
    return Call(operation, (pool, replica), headers={IF_MATCH: if_match})


def plain(settings: PoolSettings | ReplicaSettings | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON; what was not set is left to the control plane."""
    if isinstance(settings, Mapping):
        return dict(settings)
    return settings.model_dump(mode="json", exclude_unset=True)


def _texts(value: object) -> Sequence[str]:
    match value:
        case None:
            return ()
        case bool():
            return ("true" if value else "false",)
        case tuple() | list():
            return tuple(map(str, value))
        case _:
            return (str(value),)
