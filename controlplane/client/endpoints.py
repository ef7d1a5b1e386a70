"""The endpoints that a client knows, and what is sent to them. Pure; `connection` sends it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from controlplane.settings import PoolSettings, ReplicaSettings

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
LAST_EVENT_ID: Final = "Last-Event-ID"

_POOL: Final = "/v1/pools/{pool}"
_REPLICAS: Final = f"{_POOL}/replicas"
_REPLICA: Final = f"{_REPLICAS}/{{replica}}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation of the API.

    Attributes:
        id: The ``operationId`` of the OpenAPI document.
        method: Of HTTP.
        path: With ``{pool}`` and ``{replica}``.
        query: Parameters that it takes.
        headers: Of the request, that it takes.
        media: Of its answer.
    """

    id: str
    method: str
    path: str
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    media: str = "application/json"


LIST_POOLS: Final = Endpoint("listPools", "GET", "/v1/pools", ("limit", "after"))
GET_POOL: Final = Endpoint("getPool", "GET", _POOL)
PUT_POOL: Final = Endpoint("putPool", "PUT", _POOL, ("dry_run",), (IF_MATCH, IF_NONE_MATCH))
DELETE_POOL: Final = Endpoint("deletePool", "DELETE", _POOL, ("dry_run",), (IF_MATCH,))
LIST_REPLICAS: Final = Endpoint("listReplicas", "GET", _REPLICAS, ("limit", "after", "label"))
PUT_REPLICAS: Final = Endpoint("putReplicas", "PUT", _REPLICAS, ("dry_run", "force"))
GET_REPLICA: Final = Endpoint("getReplica", "GET", _REPLICA)
PUT_REPLICA: Final = Endpoint(
    "putReplica", "PUT", _REPLICA, ("dry_run",), (IF_MATCH, IF_NONE_MATCH)
)
DELETE_REPLICA: Final = Endpoint(
    "deleteReplica", "DELETE", _REPLICA, ("dry_run", "force"), (IF_MATCH,)
)
GET_HISTORY: Final = Endpoint("getHistory", "GET", f"{_REPLICA}/history", ("since",))
DRAIN_REPLICA: Final = Endpoint(
    "drainReplica", "POST", f"{_REPLICA}/drain", ("dry_run",), (IF_MATCH,)
)
UNDRAIN_REPLICA: Final = Endpoint(
    "undrainReplica", "POST", f"{_REPLICA}/undrain", ("dry_run",), (IF_MATCH,)
)
HEARTBEAT_REPLICA: Final = Endpoint(
    "heartbeatReplica", "POST", f"{_REPLICA}/heartbeat", headers=(IF_MATCH,)
)
LIST_NODES: Final = Endpoint("listNodes", "GET", "/v1/nodes")
FOLLOW_EVENTS: Final = Endpoint(
    "followEvents", "GET", "/v1/events", headers=(LAST_EVENT_ID,), media="text/event-stream"
)
READ_AUDIT: Final = Endpoint("readAudit", "GET", "/v1/audit", ("limit", "before"))
READ_METRICS: Final = Endpoint("readMetrics", "GET", "/metrics", media="text/plain")
IS_LIVE: Final = Endpoint("isLive", "GET", "/livez")
IS_READY: Final = Endpoint("isReady", "GET", "/readyz")

ENDPOINTS: Final = (
    LIST_POOLS,
    GET_POOL,
    PUT_POOL,
    DELETE_POOL,
    LIST_REPLICAS,
    PUT_REPLICAS,
    GET_REPLICA,
    PUT_REPLICA,
    DELETE_REPLICA,
    GET_HISTORY,
    DRAIN_REPLICA,
    UNDRAIN_REPLICA,
    HEARTBEAT_REPLICA,
    LIST_NODES,
    FOLLOW_EVENTS,
    READ_AUDIT,
    READ_METRICS,
    IS_LIVE,
    IS_READY,
)
"""All that the API has; a test compares them with the table that the control plane routes by."""

OPENAPI: Final = Endpoint("", "GET", "/openapi.json")
"""The document itself, which does not describe itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        endpoint: That it goes to.
        names: The pool and the replica in its path.
        query: Its parameters; those that are None are left out.
        headers: Those of `endpoint` that are sent; the same.
        body: Sent as JSON.
    """

    endpoint: Endpoint
    names: tuple[str, ...] = ()
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    @property
    def target(self) -> str:
        """Path and query, as they stand in the request; names may hold any character."""
        quoted = dict(
            zip(("pool", "replica"), (quote(it, safe="") for it in self.names), strict=False)
        )
        path = self.endpoint.path.format_map(quoted)
        query = urlencode([(key, it) for key, value in self.query.items() for it in _texts(value)])
        return f"{path}?{query}" if query else path

    def dry(self) -> Self:
        """The same, of which only is asked what it would come to."""
        return replace(self, query={**self.query, "dry_run": True})


def put_pool(
    pool: str, settings: PoolSettings | Mapping[str, Any], if_match: str | None, *, create: bool
) -> Call:
    """All settings of a pool."""
    headers = {IF_MATCH: if_match, IF_NONE_MATCH: "*" if create else None}
    return Call(PUT_POOL, (pool,), headers=headers, body=plain(settings))


def delete_pool(pool: str, if_match: str | None) -> Call:
    """A pool, and what was put over one of the config file."""
    return Call(DELETE_POOL, (pool,), headers={IF_MATCH: if_match})


def put_replica(
    pool: str,
    replica: str,
    settings: ReplicaSettings | Mapping[str, Any],
    if_match: str | None,
    *,
    create: bool,
) -> Call:
    """All settings of a replica."""
    headers = {IF_MATCH: if_match, IF_NONE_MATCH: "*" if create else None}
    return Call(PUT_REPLICA, (pool, replica), headers=headers, body=plain(settings))


def put_replicas(
    pool: str, replicas: Mapping[str, ReplicaSettings | Mapping[str, Any]], *, force: bool
) -> Call:
    """All settings of many, by id."""
    entries = [{**plain(settings), "id": id_} for id_, settings in replicas.items()]
    query = {"force": force or None}
    return Call(PUT_REPLICAS, (pool,), query, body={"replicas": entries})


def delete_replica(pool: str, replica: str, if_match: str | None, *, force: bool) -> Call:
    """A replica, and what was put over one of the config file."""
    query = {"force": force or None}
    return Call(DELETE_REPLICA, (pool, replica), query, {IF_MATCH: if_match})


def act(endpoint: Endpoint, pool: str, replica: str, if_match: str | None) -> Call:
    """To drain a replica, or no longer, or to renew its lease."""
    return Call(endpoint, (pool, replica), headers={IF_MATCH: if_match})


def plain(settings: PoolSettings | ReplicaSettings | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them; what nobody has said of them is left to the control plane."""
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
