"""The endpoints for replicas."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from controlplane.edges.rest.answers import (
    HistoryView,
    PreviewView,
    Put,
    ReplicaList,
    ReplicaView,
)
from controlplane.edges.rest.changes import Changes, ReplicaBatch, answer, long_answer
from controlplane.edges.rest.etags import IF_MATCH, IF_NONE_MATCH, Preconditions
from controlplane.edges.rest.history_view import history_view
from controlplane.edges.rest.operations import Endpoint, Operation
from controlplane.edges.rest.query import (
    Batch,
    Change,
    Query,
    Removal,
    ReplicaPage,
    Since,
    matching,
    page_of,
    query_of,
)
from controlplane.edges.rest.requests import body_as, name_in_path, settings_in_body
from controlplane.edges.rest.views import replica_view
from controlplane.edges.turns import Turns
from controlplane.fleet import DeleteReplica, Drain, Heartbeat, PutReplica, PutReplicas, Undrain
from controlplane.settings import ReplicaSettings, Role

_REPLICAS: Final = "/v1/pools/{pool}/replicas"
_REPLICA: Final = f"{_REPLICAS}/{{replica}}"
_BATCH: Final = (
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_CHANGES: Final = (*_BATCH, HTTPStatus.PRECONDITION_FAILED)
_EXAMPLE: Final = {"address": "10.0.0.11:8080", "slots": 2, "locality": {"zone": "a"}}

_Action = type[Drain] | type[Undrain] | type[Heartbeat]


@dataclass(frozen=True, slots=True)
class Replicas:
    """Everything below ``/v1/pools/{pool}/replicas``.

    Attributes:
        changes: Carries out commands.
        read_timeout: Seconds for a body to arrive.
        wall_clock: Seconds since 1970.
    """

    changes: Changes
    read_timeout: float
    wall_clock: Callable[[], float]

    def operations(self) -> tuple[Operation, ...]:
        """The endpoints."""
        return (
            Operation(
                "listReplicas",
                "GET",
                _REPLICAS,
                Role.READ,
                "List the replicas of a pool",
                self.get_all,
                {HTTPStatus.OK: ReplicaList},
                query=ReplicaPage,
                problems=(HTTPStatus.NOT_FOUND,),
            ),
            Operation(
                "putReplicas",
                "PUT",
                _REPLICAS,
                Role.REGISTER,
                "Add or change many replicas together",
                self.put_many,
                {HTTPStatus.OK: Put},
                query=Batch,
                body=ReplicaBatch,
                example={"replicas": [{"id": "gpu-7", **_EXAMPLE}]},
                problems=_BATCH,
                previews=PreviewView,
            ),
            Operation(
                "getReplica",
                "GET",
                _REPLICA,
                Role.READ,
                "Show a replica, and why it gets what it gets",
                self.get,
                {HTTPStatus.OK: ReplicaView},
                problems=(HTTPStatus.NOT_FOUND,),
            ),
            Operation(
                "putReplica",
                "PUT",
                _REPLICA,
                Role.REGISTER,
                "Add a replica, or change it",
                self.put,
                {HTTPStatus.OK: ReplicaView, HTTPStatus.CREATED: ReplicaView},
                query=Change,
                body=ReplicaSettings,
                example=_EXAMPLE,
                headers=(IF_MATCH, IF_NONE_MATCH),
                problems=_CHANGES,
                previews=PreviewView,
            ),
            Operation(
                "deleteReplica",
                "DELETE",
                _REPLICA,
                Role.REGISTER,
                "Remove a replica",
                self.delete,
                {HTTPStatus.NO_CONTENT: None},
                query=Removal,
                headers=(IF_MATCH,),
                problems=_CHANGES,
                previews=PreviewView,
            ),
            Operation(
                "getHistory",
                "GET",
                f"{_REPLICA}/history",
                Role.READ,
                "Show when a replica's share changed, and why",
                self.get_history,
                {HTTPStatus.OK: HistoryView},
                query=Since,
                problems=(HTTPStatus.NOT_FOUND,),
            ),
            self._action("drain", "Send a replica no new requests", self.drain),
            self._action("undrain", "Let a drained replica have requests again", self.undrain),
            Operation(
                "heartbeatReplica",
                "POST",
                f"{_REPLICA}/heartbeat",
                Role.REGISTER,
                "Renew a replica's lease",
                self.heartbeat,
                {HTTPStatus.OK: ReplicaView},
                headers=(IF_MATCH,),
                problems=(
                    HTTPStatus.NOT_FOUND,
                    HTTPStatus.CONFLICT,
                    HTTPStatus.PRECONDITION_FAILED,
                ),
            ),
        )

    async def get_all(self, request: web.Request) -> web.Response:
        """In alphabetical order of their ids; all of them, unless `limit` asks for pages."""
        pool = self.changes.plane.fleet.pool(name_in_path(request, "pool"))
        page = query_of(request, ReplicaPage)
        ids, following = page_of(matching(pool, page), page)
        now, turns, views = self.changes.clock(), Turns(), []
        for report in self.changes.plane.reports(pool.name, ids, now):
            views.append(replica_view(report, now))
            await turns.give_way()
        return await long_answer({"replicas": views, "next": following})

    async def get(self, request: web.Request) -> web.Response:
        """Its settings are shown as they can be put; the ETag stands for them, and for draining."""
        return self._shown(*_names(request))

    async def put(self, request: web.Request) -> web.Response:
        """The body says all of its settings; what it leaves out gets its default.

        The same again changes nothing, but renews the lease. At another address it is another
        process, of which nothing is known yet, and so it is with another `instance`. Of a replica
        that the config file declares, it overrides what it says otherwise.
        """
        pool, id_ = _names(request)
        settings = await settings_in_body(request, ReplicaSettings, "id", id_, self.read_timeout)
        before = self.changes.plane.fleet.pool(pool)
        command = PutReplica(pool, id_, settings)
        check = Preconditions.of(request, pool, id_).check
        if query_of(request, Change).dry_run:
            return await self.changes.preview(command, request, check)
        await self.changes.apply(command, request, check)
        is_new = id_ not in before.replicas
        return self._shown(pool, id_, HTTPStatus.CREATED if is_new else HTTPStatus.OK)

    async def put_many(self, request: web.Request) -> web.Response:
        """All of them or none, in one step that Envoys see at once; replicas not named here stay.

        Two may swap their addresses. At other addresses nobody is ready yet: no more than half of
        those that serve can move together.
        """
        name, query = name_in_path(request, "pool"), query_of(request, Batch)
        batch = await body_as(request, ReplicaBatch, self.read_timeout)
        command = PutReplicas(name, batch.by_id(), force=query.force)
        with batch.pointing():
            if query.dry_run:
                return await self.changes.preview(command, request)
            before = self.changes.plane.fleet.pool(name).replicas
            await self.changes.apply(command, request)
        pool = self.changes.plane.fleet.pools.get(name)
        put: dict[str, list[str]] = {"added": [], "changed": [], "unchanged": []}
        for id_ in batch.by_id():
            if id_ not in before:
                put["added"].append(id_)
            else:
                # Who asked at the same time may have removed it again, or all of the pool.
                old, new = before[id_], pool.replicas.get(id_) if pool else None
                same = new is not None and (old.settings, old.source) == (new.settings, new.source)
                put["unchanged" if same else "changed"].append(id_)
        return answer(put)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """It gets no new requests; those that it has finish.

        Of one that the config file declares only what was put here over it is removed. Within ten
        seconds no more than half of a pool's replicas that nobody had drained can be removed.
        """
        pool, id_ = _names(request)
        self.changes.plane.fleet.pool(pool).replica(id_)  # It is there at all.
        query, check = query_of(request, Removal), Preconditions.of(request, pool, id_).check
        command = DeleteReplica(pool, id_, force=query.force)
        if query.dry_run:
            return await self.changes.preview(command, request, check)
        await self.changes.apply(command, request, check)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def get_history(self, request: web.Request) -> web.Response:
        """The explanations of the last hour, the oldest first, and what changed from each to each.

        Where many were alike, some are left out.
        """
        pool, id_ = _names(request)
        plane, now = self.changes.plane, self.changes.clock()
        plane.fleet.pool(pool).replica(id_)
        told = plane.histories.of(pool, id_, now, query_of(request, Since).since)
        return answer(history_view(pool, id_, told, now, self.wall_clock()))

    async def drain(self, request: web.Request) -> web.Response:
        """It stays known, and the answer says how many requests it still has in flight."""
        return await self._act(Drain, request)

    async def undrain(self, request: web.Request) -> web.Response:
        """What a lease that ran out has drained, only a heartbeat brings back."""
        return await self._act(Undrain, request)

    async def heartbeat(self, request: web.Request) -> web.Response:
        """Without one for its `ttl` a replica is drained, and ten seconds later removed.

        One that the config file declares stays, drained, until it is heard of again.
        """
        return await self._act(Heartbeat, request)

    async def _act(self, action: _Action, request: web.Request) -> web.Response:
        pool, id_ = _names(request)
        self.changes.plane.fleet.pool(pool).replica(id_)  # It is there at all.
        check = Preconditions.of(request, pool, id_).check
        model = Query if action is Heartbeat else Change
        query = query_of(request, model)
        if isinstance(query, Change) and query.dry_run:
            return await self.changes.preview(action(pool, id_), request, check)
        await self.changes.apply(action(pool, id_), request, check)
        return self._shown(pool, id_)

    def _action(self, name: str, summary: str, handle: Endpoint) -> Operation:
        return Operation(
            f"{name}Replica",
            "POST",
            f"{_REPLICA}/{name}",
            Role.REGISTER,
            summary,
            handle,
            {HTTPStatus.OK: ReplicaView},
            query=Change,
            headers=(IF_MATCH,),
            problems=_CHANGES,
            previews=PreviewView,
        )

    def _shown(self, pool: str, id_: str, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
        return answer(
            self._view(pool, id_), status, self.changes.plane.fleet.pool(pool).replica(id_)
        )

    def _view(self, pool: str, id_: str) -> dict[str, Any]:
        now = self.changes.clock()
        return replica_view(self.changes.plane.report(pool, id_, now), now)


def _names(request: web.Request) -> tuple[str, str]:
    return name_in_path(request, "pool"), name_in_path(request, "replica")
