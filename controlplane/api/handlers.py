"""Handle every operation of the table: read the request, change or ask the plane, answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Generic, TypeAlias, TypeVar

from aiohttp import web

from controlplane import __version__
from controlplane.api import schema
from controlplane.api.answers import Preconditions, Problem, answer, long_answer
from controlplane.api.auth import require, sender_of
from controlplane.api.changes import Changes, pointing
from controlplane.api.envoy_views import nodes_view, resources_view
from controlplane.api.events import EventStream, Refusal
from controlplane.api.requests import (
    body_as,
    names_in_path,
    query_of,
    refuse_body,
    settings_in_body,
)
from controlplane.api.schema import operations as ops
from controlplane.api.schema.operations import IF_MATCH, IF_NONE_MATCH, Operation
from controlplane.api.views import (
    discovery_view,
    history_view,
    pool_history_view,
    pool_view,
    replica_view,
    scaling_view,
    traffic_view,
)
from controlplane.balancing import Place
from controlplane.ca.certificates import CaError
from controlplane.ca.issuing import Issuer
from controlplane.config import PoolSettings, ReplicaSettings
from controlplane.fleet import (
    AuditLog,
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Heartbeat,
    Pool,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    Undrain,
)
from controlplane.resources.messages import snapshot_to_json
from controlplane.resources.resource import CLUSTER
from controlplane.resources.views import View
from controlplane.turns import result_in_turns
from controlplane.xds import NodeStatus

QueryT = TypeVar("QueryT", bound=schema.Query, covariant=True)


@dataclass(frozen=True, slots=True)
class Asked(Generic[QueryT]):
    """A request, its query, and the names in its path: of the pool, and of the replica if any."""

    request: web.Request
    query: QueryT
    names: tuple[str, ...]

    @property
    def pool(self) -> str:
        return self.names[0]

    @property
    def replica(self) -> str:
        return self.names[1]


Handler: TypeAlias = Callable[[Asked[Any]], Awaitable[web.StreamResponse]]

Metrics: TypeAlias = Callable[[str], Awaitable[tuple[bytes, str]]]
"""The exposition and its content type, for a request's ``Accept``."""

_CREATED, _OK = HTTPStatus.CREATED, HTTPStatus.OK
_UNREADY: Final = HTTPStatus.SERVICE_UNAVAILABLE


class Handlers:
    """A method for each operation."""

    def __init__(
        self,
        changes: Changes,
        events: EventStream,
        *,
        nodes: Callable[[], Sequence[NodeStatus]],
        refusals: Callable[[], Sequence[Refusal]],
        audit: AuditLog,
        ready: Callable[[], bool],
        metrics: Metrics,
        wall_clock: Callable[[], float],
        body_timeout: float,
        issuer: Issuer | None,
    ) -> None:
        """Prepare to handle requests; `RestServer` describes the arguments."""
        self._changes, self._plane, self._clock = changes, changes.plane, changes.clock
        self._events, self._nodes, self._audit = events, nodes, audit
        self._refusals = refusals
        self._ready, self._metrics, self._wall_clock = ready, metrics, wall_clock
        self._body_timeout, self._issuer = body_timeout, issuer

    def routes(self) -> tuple[tuple[Operation, Handler], ...]:
        """Every operation with its handler."""
        return (
            (ops.WHO_AM_I, self._who_am_i),
            (ops.LIST_POOLS, self._list_pools),
            (ops.GET_POOL, self._get_pool),
            (ops.GET_POOL_HISTORY, self._get_pool_history),
            (ops.GET_RESOURCES, self._get_resources),
            (ops.GET_NODE_RESOURCES, self._get_node_resources),
            (ops.PUT_POOL, self._put_pool),
            (ops.DELETE_POOL, self._delete_pool),
            (ops.GET_SCALING, self._get_scaling),
            (ops.LIST_REPLICAS, self._list_replicas),
            (ops.PUT_REPLICAS, self._put_replicas),
            (ops.GET_REPLICA, self._get_replica),
            (ops.PUT_REPLICA, self._put_replica),
            (ops.DELETE_REPLICA, self._delete_replica),
            (ops.GET_HISTORY, self._get_history),
            (ops.DRAIN_REPLICA, partial(self._act, Drain)),
            (ops.UNDRAIN_REPLICA, partial(self._act, Undrain)),
            (ops.HEARTBEAT_REPLICA, partial(self._act, Heartbeat)),
            (ops.LIST_NODES, self._list_nodes),
            (ops.FOLLOW_EVENTS, self._follow_events),
            (ops.READ_AUDIT, self._read_audit),
            (ops.READ_METRICS, self._read_metrics),
            (ops.JOIN, self._join),
            (ops.IS_LIVE, self._is_live),
            (ops.IS_READY, self._is_ready),
        )

    async def _who_am_i(self, asked: Asked[schema.Query]) -> web.Response:
        sender = sender_of(asked.request)
        kind = "loopback" if sender.owner is None else sender.kind
        shown = {"name": sender.name, "role": sender.role.value, "kind": kind}
        return answer(shown | {"version": __version__})

    async def _list_pools(self, asked: Asked[schema.PoolPage]) -> web.Response:
        pools = self._plane.fleet.pools
        names, following = _page(sorted(pools), asked.query)
        views = [await self._pool_view(pools[name]) for name in names]
        if not asked.query.replicas:
            views = [view | {"replicas": []} for view in views]
        return await long_answer({"pools": views, "next": following})

    async def _get_pool(self, asked: Asked[schema.Query]) -> web.Response:
        return await self._show_pool(asked.pool)

    async def _get_pool_history(self, asked: Asked[schema.Since]) -> web.Response:
        self._plane.fleet.pool(asked.pool)  # Raises where there is none.
        now = self._clock()
        points = self._plane.trends.of(asked.pool, now, asked.query.since)
        return await long_answer(pool_history_view(asked.pool, points, now, self._wall_clock()))

    async def _get_resources(self, asked: Asked[schema.Query]) -> web.Response:
        self._plane.fleet.pool(asked.pool)  # Raises where there is none.
        # Thousands of endpoints take a while to be read.
        catalog = self._plane.catalog
        return await long_answer(await asyncio.to_thread(resources_view, catalog, asked.pool))

    async def _get_node_resources(self, asked: Asked[schema.Query]) -> web.Response:
        node = await body_as(asked.request, schema.NodeRequest, self._body_timeout)
        place = Place(node.locality.region or "", node.locality.zone or "")
        try:
            view = View.of(node.metadata, place)
        except ValueError as error:
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            raise Problem(status, str(error), pointer="/metadata") from None
        for name in (*(view.pools or ()), *(name for name, _ in view.listen)):
            self._plane.fleet.pool(name)  # Raises where there is none.
        held = self._plane.catalog.view(view)
        names = (name for name in held.names(CLUSTER) if held.keeps(CLUSTER, name, None))
        if not self._ready() or next(names, None) is not None:
            raise Problem(_UNREADY, "not all replicas are known yet: try again in half a minute")
        found = await asyncio.to_thread(snapshot_to_json, held)
        return await long_answer({"resources": found})

    async def _put_pool(self, asked: Asked[schema.Change]) -> web.Response:
        settings = await settings_in_body(
            asked.request, PoolSettings, "name", asked.pool, self._body_timeout
        )
        is_new = asked.pool not in self._plane.fleet.pools
        preview = await self._change(asked, PutPool(asked.pool, settings))
        with _still_there(f"pool {asked.pool!r}"):
            return preview or await self._show_pool(asked.pool, _CREATED if is_new else _OK)

    async def _delete_pool(self, asked: Asked[schema.Change]) -> web.StreamResponse:
        self._plane.fleet.pool(asked.pool)  # Raises where there is none.
        preview = await self._change(asked, DeletePool(asked.pool))
        return preview or web.Response(status=HTTPStatus.NO_CONTENT)

    async def _get_scaling(self, asked: Asked[schema.Query]) -> web.Response:
        return answer(scaling_view(self._plane.recommendation(asked.pool, self._clock())))

    async def _list_replicas(self, asked: Asked[schema.ReplicaPage]) -> web.Response:
        replicas = self._plane.fleet.pool(asked.pool).replicas
        selected = sorted(
            id_ for id_, replica in replicas.items() if asked.query.selects(replica.settings.labels)
        )
        ids, following = _page(selected, asked.query)
        now = self._clock()
        views = (replica_view(report, now) for report in self._plane.reports(asked.pool, ids, now))
        return await long_answer({"replicas": views, "next": following})

    async def _put_replicas(self, asked: Asked[schema.Batch]) -> web.Response:
        batch = await body_as(asked.request, schema.ReplicaBatch, self._body_timeout)
        wanted = batch.by_id()
        command = PutReplicas(asked.pool, wanted, force=asked.query.force)
        with pointing(batch):
            before = self._plane.fleet.pool(asked.pool).replicas
            if (preview := await self._change(asked, command)) is not None:
                return preview
        pool = self._plane.fleet.pools.get(asked.pool)
        put: dict[str, list[str]] = {"added": [], "changed": [], "unchanged": []}
        for id_ in wanted:
            if id_ not in before:
                put["added"].append(id_)
            else:
                # Somebody else may have removed it again meanwhile, or all of the pool.
                old, new = before[id_], pool.replicas.get(id_) if pool else None
                same = new is not None and (old.settings, old.source) == (new.settings, new.source)
                put["unchanged" if same else "changed"].append(id_)
        return answer(put)

    async def _get_replica(self, asked: Asked[schema.Query]) -> web.Response:
        return self._show_replica(asked.pool, asked.replica)

    async def _put_replica(self, asked: Asked[schema.Change]) -> web.Response:
        settings = await settings_in_body(
            asked.request, ReplicaSettings, "id", asked.replica, self._body_timeout
        )
        is_new = asked.replica not in self._plane.fleet.pool(asked.pool).replicas
        command = PutReplica(asked.pool, asked.replica, settings)
        preview = await self._change(asked, command)
        status = _CREATED if is_new else _OK
        with _still_there(f"replica {asked.replica!r}"):
            return preview or self._show_replica(asked.pool, asked.replica, status)

    async def _delete_replica(self, asked: Asked[schema.Removal]) -> web.StreamResponse:
        self._plane.fleet.pool(asked.pool).replica(asked.replica)  # Raises where there is none.
        command = DeleteReplica(asked.pool, asked.replica, force=asked.query.force)
        preview = await self._change(asked, command)
        return preview or web.Response(status=HTTPStatus.NO_CONTENT)

    async def _act(
        self, action: type[Drain] | type[Undrain] | type[Heartbeat], asked: Asked[schema.Query]
    ) -> web.StreamResponse:
        """Drain a replica, take that back, or renew its lease."""
        self._plane.fleet.pool(asked.pool).replica(asked.replica)  # Raises where there is none.
        preview = await self._change(asked, action(asked.pool, asked.replica))
        with _still_there(f"replica {asked.replica!r}"):
            return preview or self._show_replica(asked.pool, asked.replica)

    async def _change(self, asked: Asked[schema.Query], command: Command) -> web.Response | None:
        """Carry out a command, or answer with what it would lead to if that is asked for."""
        check = Preconditions.of(asked.request, *asked.names).check
        if isinstance(asked.query, schema.Change) and asked.query.dry_run:
            return await self._changes.preview(command, asked.request, check)
        await self._changes.apply(command, asked.request, check)
        return None

    async def _get_history(self, asked: Asked[schema.Since]) -> web.Response:
        self._plane.fleet.pool(asked.pool).replica(asked.replica)  # Raises where there is none.
        now = self._clock()
        items = self._plane.histories.of(asked.pool, asked.replica, now, asked.query.since)
        return answer(history_view(asked.pool, asked.replica, items, now, self._wall_clock()))

    async def _list_nodes(self, _asked: Asked[schema.Query]) -> web.Response:
        now = self._clock()
        disputes, sent = self._plane.disputes(now), self._plane.senders.sent()
        shown = await nodes_view(self._nodes(), now, disputes, self._refusals(), sent)
        return await long_answer(shown)

    async def _follow_events(self, asked: Asked[schema.Query]) -> web.StreamResponse:
        return await self._events.serve(asked.request)

    async def _read_audit(self, asked: Asked[schema.AuditPage]) -> web.Response:
        entries, older = self._audit.page(asked.query.limit, asked.query.before)
        return await long_answer({"entries": (entry.data() for entry in entries), "next": older})

    async def _read_metrics(self, asked: Asked[schema.Query]) -> web.Response:
        accept = ",".join(asked.request.headers.getall("Accept", ()))
        text, content_type = await self._metrics(accept)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _join(self, asked: Asked[schema.Query]) -> web.Response:
        shown = await body_as(asked.request, schema.JoinRequest, self._body_timeout)
        if self._issuer is None:
            raise Problem(
                HTTPStatus.NOT_FOUND, "no certificates are issued here: identity.ca is not set"
            )
        try:
            joined = self._issuer.join(shown.node, shown.csr, shown.token, shown.certificate)
        except CaError as error:
            raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
        return answer(asdict(joined))

    async def _is_live(self, _asked: Asked[schema.Query]) -> web.Response:
        return answer({"live": True})

    async def _is_ready(self, _asked: Asked[schema.Query]) -> web.Response:
        is_ready = self._ready()
        return answer({"ready": is_ready}, _OK if is_ready else _UNREADY)

    async def pool_views(self) -> list[dict[str, Any]]:
        """Every pool, as the list shows it."""
        pools = self._plane.fleet.pools
        return [await self._pool_view(pools[name]) for name in sorted(pools)]

    async def _show_pool(self, name: str, status: HTTPStatus = _OK) -> web.Response:
        pool = self._plane.fleet.pool(name)
        return await long_answer(await self._pool_view(pool), status, pool)

    async def _pool_view(self, pool: Pool) -> dict[str, Any]:
        plane, now, name = self._plane, self._clock(), pool.name
        reports = plane.reports(name, pool.replicas, now)
        view = await pool_view(pool, reports, plane.decision(name), plane.parting(name))
        traffic = traffic_view(await result_in_turns(plane.tallying(pool, now)))
        discovery = discovery_view(plane.discoveries.report(name), now)
        return {**view, "discovery": discovery, "traffic": traffic}

    def _show_replica(self, pool: str, id_: str, status: HTTPStatus = _OK) -> web.Response:
        now = self._clock()
        view = replica_view(self._plane.report(pool, id_, now), now)
        return answer(view, status, self._plane.fleet.pool(pool).replica(id_))


def _page(names: Iterable[str], query: schema.Page) -> tuple[list[str], str | None]:
    """One page of sorted names, and the name to ask for the next page with; None on the last."""
    found = [name for name in names if query.after is None or name > query.after]
    if query.limit is None or len(found) <= query.limit:
        return found, None
    return found[: query.limit], found[query.limit - 1]


@contextmanager
def _still_there(what: str) -> Iterator[None]:
    """Answer for what another client removed between its change and this answer."""
    try:
        yield
    except Refused:
        detail = f"{what} was changed, and another client has removed it since"
        raise Problem(HTTPStatus.CONFLICT, detail) from None


def route(operation: Operation, handle: Handler, seconds: float) -> web.RouteDef:
    """Check the role, the query and the conditions of a request before it is handled.

    A body that nothing reads is refused within so many seconds: what its sender wants would be
    ignored.
    """

    async def checked(request: web.Request) -> web.StreamResponse:
        if operation.role is not None:
            require(request, operation.role)
        query = query_of(request, operation.query)
        if operation.method != "GET":
            _refuse_conditions(request, operation)
            if operation.body is None and request.body_exists:
                await refuse_body(request, seconds)
        return await handle(Asked(request, query, names_in_path(request)))

    if operation.method == "GET":
        # An event stream has no end, and so no headers without a body.
        return web.get(operation.path, checked, allow_head=operation.media != "text/event-stream")
    return web.route(operation.method, operation.path, checked)


def _refuse_conditions(request: web.Request, operation: Operation) -> None:
    """Refuse a condition that would be ignored: the client would change what it has not seen."""
    for header in (IF_MATCH, IF_NONE_MATCH):
        if header in request.headers and header not in operation.headers:
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                f"{header} is not taken here; leave it out, or change one thing at a time"
                " where it is",
                parameter=header,
            )
