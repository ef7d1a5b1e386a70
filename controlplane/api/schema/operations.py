"""The table of the API: every operation with its models. Server, client and OpenAPI read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from controlplane.api import schema
from controlplane.config import PoolSettings, ReplicaSettings, Role

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
LAST_EVENT_ID: Final = "Last-Event-ID"

_POOLS: Final = "/v1/pools"
_POOL: Final = f"{_POOLS}/{{pool}}"
_REPLICAS: Final = f"{_POOL}/replicas"
_REPLICA: Final = f"{_REPLICAS}/{{replica}}"

_OK, _CREATED, _NO_CONTENT = HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT
_NOT_FOUND, _CONFLICT = HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT
_STALE, _UNAVAILABLE = HTTPStatus.PRECONDITION_FAILED, HTTPStatus.SERVICE_UNAVAILABLE

_OF_TOKENS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_OF_BODIES: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)

_REPLICA_EXAMPLE: Final = {"address": "10.0.0.11:8080", "slots": 2, "locality": {"zone": "a"}}
_POOL_EXAMPLE: Final = {
    "model": "all-MiniLM-L6-v2",
    "listener": {"address": "127.0.0.1:10000"},
    "objective": {"p99": "250ms"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        method: A GET answers HEAD as well.
        path: With ``{pool}`` and ``{replica}``.
        role: The role that it takes; None: no token is needed.
        answers: The model by status; None: no body, or one of another media type.
        more_errors: The error statuses that do not follow from the other attributes.
    """

    id: str
    method: str = "GET"
    path: str
    role: Role | None = Role.READ
    summary: str
    description: str
    answers: Mapping[HTTPStatus, type[schema.Answer] | None]
    query: type[schema.Query] = schema.Query
    body: type[BaseModel] | None = None
    example: Mapping[str, Any] | None = None
    headers: tuple[str, ...] = ()
    more_errors: tuple[HTTPStatus, ...] = ()
    media: str = "application/json"

    @property
    def has_preview(self) -> bool:
        """Whether ``?dry_run=true`` is answered with a `Preview`."""
        return issubclass(self.query, schema.Change)

    @property
    def has_etag(self) -> bool:
        """Whether an answer has an ETag: it shows one pool or one replica."""
        return self.answers.get(HTTPStatus.OK) in (schema.Pool, schema.Replica)

    @property
    def errors(self) -> frozenset[HTTPStatus]:
        """The statuses of its errors."""
        found = {HTTPStatus.BAD_REQUEST, *self.more_errors}
        if "{pool}" in self.path and (self.method, self.path) != ("PUT", _POOL):
            found.add(_NOT_FOUND)
        if self.has_preview:
            found |= {_CONFLICT, _UNAVAILABLE}
        if IF_MATCH in self.headers:
            found |= {_CONFLICT, _STALE}
        with_token = _OF_TOKENS if self.role is not None else frozenset()
        return with_token.union(found, _OF_BODIES if self.body is not None else ())


WHO_AM_I: Final = Operation(
    id="whoAmI",
    path="/v1/whoami",
    summary="Show who asks, and with which role",
    description="As the token or the certificate of the request says.",
    answers={_OK: schema.Sender},
)
LIST_POOLS: Final = Operation(
    id="listPools",
    path=_POOLS,
    summary="List the pools",
    description="In alphabetical order; all of them, unless `limit` asks for pages.",
    answers={_OK: schema.PoolList},
    query=schema.PoolPage,
)
GET_POOL: Final = Operation(
    id="getPool",
    path=_POOL,
    summary="Show a pool",
    description="Its settings are shown as they can be put. The ETag stands for them.",
    answers={_OK: schema.Pool},
)
GET_POOL_HISTORY: Final = Operation(
    id="getPoolHistory",
    path=f"{_POOL}/history",
    summary="Show what a pool did in the last hour",
    description="Traffic, latency, errors and capacity of all its replicas together, every ten"
    " seconds, the oldest first. A restart of the control plane begins anew.",
    answers={_OK: schema.PoolHistory},
    query=schema.Since,
)
GET_RESOURCES: Final = Operation(
    id="getResources",
    path=f"{_POOL}/resources",
    summary="Show a pool as Envoys get it",
    description="The clusters, assignments, routes and listeners of the pool. Secrets are none of"
    " them. An Envoy with a view or listeners of its own may get less, or other addresses.",
    answers={_OK: schema.PoolResources},
)
GET_NODE_RESOURCES: Final = Operation(
    id="getNodeResources",
    method="POST",
    path="/v1/resources",
    summary="Show what an Envoy would be sent now",
    description="The body has what its bootstrap says under `node`; it need not be connected. Keys"
    " and certificates that the control plane issues are none of it. The answer is 503 while the"
    " replicas are not known well enough.",
    answers={_OK: schema.NodeResources},
    body=schema.NodeRequest,
    example={"metadata": {"plimsoll": {"pools": ["minilm"]}}, "locality": {"zone": "a"}},
    more_errors=(_NOT_FOUND, _UNAVAILABLE),
)
PUT_POOL: Final = Operation(
    id="putPool",
    method="PUT",
    path=_POOL,
    role=Role.OPERATE,
    summary="Add a pool, or change its settings",
    description="The body holds all settings; a setting that is left out gets its default. Replicas"
    " of a pool that exists stay. The same body again changes nothing. The body overrides what the"
    " config file declares.",
    answers={_OK: schema.Pool, _CREATED: schema.Pool},
    query=schema.Change,
    body=PoolSettings,
    example=_POOL_EXAMPLE,
    headers=(IF_MATCH, IF_NONE_MATCH),
)
DELETE_POOL: Final = Operation(
    id="deletePool",
    method="DELETE",
    path=_POOL,
    role=Role.OPERATE,
    summary="Remove a pool with its replicas",
    description="Envoys drop the pool at once: drain its replicas first, and let requests finish."
    " For a pool of the config file, only what was put over it is removed.",
    answers={_NO_CONTENT: None},
    query=schema.Change,
    headers=(IF_MATCH,),
)
GET_SCALING: Final = Operation(
    id="getScaling",
    path=f"{_POOL}/scaling",
    summary="How many replicas a pool should have, and why",
    description="`replicas` is for autoscalers, such as KEDA's metrics-api scaler with"
    " `valueLocation: replicas` and `targetValue: 1`. The number rises with the load forecast for"
    " when a new replica would serve, and falls once fewer were enough for `scale_down_after`.",
    answers={_OK: schema.Scaling},
)
LIST_REPLICAS: Final = Operation(
    id="listReplicas",
    path=_REPLICAS,
    summary="List the replicas of a pool",
    description="In alphabetical order of their ids; all of them, unless `limit` asks for pages.",
    answers={_OK: schema.ReplicaList},
    query=schema.ReplicaPage,
)
PUT_REPLICAS: Final = Operation(
    id="putReplicas",
    method="PUT",
    path=_REPLICAS,
    role=Role.REGISTER,
    summary="Add or change many replicas together",
    description="All of them or none, in one step for Envoys. Replicas that are not named stay. Two"
    " replicas may swap their addresses. A replica at a new address is not ready yet, so at most"
    " half of the replicas that serve can move together.",
    answers={_OK: schema.Put},
    query=schema.Batch,
    body=schema.ReplicaBatch,
    example={"replicas": [{"id": "gpu-7", **_REPLICA_EXAMPLE}]},
)
GET_REPLICA: Final = Operation(
    id="getReplica",
    path=_REPLICA,
    summary="Show a replica, and why it gets what it gets",
    description="Its settings are shown as they can be put. The ETag stands for them, and for"
    " draining.",
    answers={_OK: schema.Replica},
)
PUT_REPLICA: Final = Operation(
    id="putReplica",
    method="PUT",
    path=_REPLICA,
    role=Role.REGISTER,
    summary="Add a replica, or change it",
    description="The body holds all settings; a setting that is left out gets its default. The same"
    " body again changes nothing, but renews the lease. Another address or another `instance` is"
    " another process, which is measured anew. The body overrides what the config file declares.",
    answers={_OK: schema.Replica, _CREATED: schema.Replica},
    query=schema.Change,
    body=ReplicaSettings,
    example=_REPLICA_EXAMPLE,
    headers=(IF_MATCH, IF_NONE_MATCH),
)
DELETE_REPLICA: Final = Operation(
    id="deleteReplica",
    method="DELETE",
    path=_REPLICA,
    role=Role.REGISTER,
    summary="Remove a replica",
    description="It gets no new requests; requests in flight finish. For a replica of the config"
    " file, only what was put over it is removed. Within ten seconds at most half of a pool's"
    " replicas that are not drained can be removed.",
    answers={_NO_CONTENT: None},
    query=schema.Removal,
    headers=(IF_MATCH,),
)
GET_HISTORY: Final = Operation(
    id="getHistory",
    path=f"{_REPLICA}/history",
    summary="Show when a replica's share changed, and why",
    description="The explanations of the last hour, the oldest first, with what changed from each"
    " to the next. Of many similar entries some are left out.",
    answers={_OK: schema.History},
    query=schema.Since,
)
DRAIN_REPLICA: Final = Operation(
    id="drainReplica",
    method="POST",
    path=f"{_REPLICA}/drain",
    role=Role.REGISTER,
    summary="Send a replica no new requests",
    description="The replica stays known. The answer says how many requests are still in flight.",
    answers={_OK: schema.Replica},
    query=schema.Change,
    headers=(IF_MATCH,),
)
UNDRAIN_REPLICA: Final = Operation(
    id="undrainReplica",
    method="POST",
    path=f"{_REPLICA}/undrain",
    role=Role.REGISTER,
    summary="Let a drained replica have requests again",
    description="A replica that is drained because its lease ran out takes a heartbeat instead.",
    answers={_OK: schema.Replica},
    query=schema.Change,
    headers=(IF_MATCH,),
)
HEARTBEAT_REPLICA: Final = Operation(
    id="heartbeatReplica",
    method="POST",
    path=f"{_REPLICA}/heartbeat",
    role=Role.REGISTER,
    summary="Renew a replica's lease",
    description="A replica without a heartbeat for its `ttl` is drained, and removed ten seconds"
    " later. A replica of the config file stays, drained, until the next heartbeat.",
    answers={_OK: schema.Replica},
    headers=(IF_MATCH,),
)
LIST_NODES: Final = Operation(
    id="listNodes",
    path="/v1/nodes",
    summary="List the connected Envoys",
    description="For each: what it was sent and has acknowledged of every type, and its last"
    " rejection. `refused` has clients whose certificate was not admitted.",
    answers={_OK: schema.NodeList},
)
FOLLOW_EVENTS: Final = Operation(
    id="followEvents",
    path="/v1/events",
    summary="Follow what changes, as server-sent events",
    description="First comes `state`, all pools as they are; then `pool`, `replica`, `parting` and"
    " `node` for each change. A client that sends `Last-Event-ID` continues after that event. Where"
    " that is no longer possible the client gets `missed` and the present `state`. Changes of"
    " settings, readiness, tier and draining are events; a change of weight alone is not. A `node`"
    " is an Envoy that connects, leaves, or rejects a response.",
    answers={_OK: None},
    headers=(LAST_EVENT_ID,),
    more_errors=(_UNAVAILABLE,),
    media="text/event-stream",
)
READ_AUDIT: Final = Operation(
    id="readAudit",
    path="/v1/audit",
    role=Role.OPERATE,
    summary="Who changed what",
    description="The newest entries first. Some thousand are kept, also over restarts. The log has"
    " a line for each.",
    answers={_OK: schema.Audit},
    query=schema.AuditPage,
)
READ_METRICS: Final = Operation(
    id="readMetrics",
    path="/metrics",
    summary="Metrics of the control plane for Prometheus",
    description="In Prometheus' text format, or in OpenMetrics where `Accept` asks for it.",
    answers={_OK: None},
    media="text/plain",
)
JOIN: Final = Operation(
    id="join",
    method="POST",
    path="/v1/join",
    role=None,
    summary="Get a node's certificate",
    description="For a join token of `plimsoll ca token`, which is used up, or for the certificate"
    " until now and a request of the same key. Of the request only the public key counts. Needs no"
    " token for the API; without `identity.ca` in the config nothing is issued.",
    answers={_OK: schema.NodeCertificate},
    body=schema.JoinRequest,
    example={"node": "search-1", "csr": "-----BEGIN CERTIFICATE REQUEST-----", "token": "…"},
    more_errors=(HTTPStatus.FORBIDDEN, _NOT_FOUND),
)
IS_LIVE: Final = Operation(
    id="isLive",
    path="/livez",
    role=None,
    summary="Whether the process answers",
    description="For orchestrators; needs no token.",
    answers={_OK: schema.Live},
)
IS_READY: Final = Operation(
    id="isReady",
    path="/readyz",
    role=None,
    summary="Whether Envoys are served",
    description="503 until the state of the replicas is known; needs no token. Without any pool"
    " the answer is 200, so that the API can add the first pool.",
    answers={_OK: schema.Ready, _UNAVAILABLE: schema.Ready},
)

OPERATIONS: Final = tuple(each for each in globals().values() if isinstance(each, Operation))
"""All that stand above, in the order of the OpenAPI document."""

OPENAPI: Final = Operation(
    id="",
    path="/openapi.json",
    role=None,
    summary="The OpenAPI document",
    description="It does not describe itself.",
    answers={_OK: None},
)
