"""The endpoints: each turns a request into at most one command, and a report into an answer."""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from aiohttp import web

from controlplane.edges.rest.discovery_view import discovery_view
from controlplane.edges.rest.history_view import history_view, since_in_query
from controlplane.edges.rest.node_view import nodes_view
from controlplane.edges.rest.requests import is_forced, name_in_path, settings_in_body
from controlplane.edges.rest.views import pool_view, replica_view
from controlplane.fleet import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Heartbeat,
    PutPool,
    PutReplica,
    Undrain,
)
from controlplane.plane import Plane
from controlplane.settings import PoolSettings, ReplicaSettings
from controlplane.xds.nodes import NodeStatus

_audit = logging.getLogger("controlplane.audit")

_POOL: Final = "/v1/pools/{pool}"
_REPLICA: Final = "/v1/pools/{pool}/replicas/{replica}"

Apply: TypeAlias = Callable[[Command, float], Awaitable[None]]
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]
_Action: TypeAlias = type[Drain] | type[Undrain] | type[Heartbeat]


@dataclass(frozen=True, slots=True)
class Api:
    """The endpoints and what they need.

    Attributes:
        plane: What is served.
        apply: Carries out a command at a time; what it has done outlives us.
        nodes: The connected Envoys.
        ready: Whether Envoys are served.
        metrics: The exposition and its content type, for a request's ``Accept``.
        read_timeout: Seconds for a body to arrive.
        clock: Seconds that never go back; of the plane and of the nodes.
    """

    plane: Plane
    apply: Apply
    nodes: Callable[[], Sequence[NodeStatus]]
    ready: Callable[[], bool]
    metrics: Callable[[str], tuple[bytes, str]]
    read_timeout: float
    clock: Callable[[], float]

    def routes(self) -> tuple[web.RouteDef, ...]:
        """Every endpoint."""
        return (
            web.get("/v1/pools", self._get_pools),
            web.get(_POOL, self._get_pool),
            web.put(_POOL, self._put_pool),
            web.delete(_POOL, self._delete_pool),
            web.get(f"{_POOL}/replicas", self._get_replicas),
            web.get(_REPLICA, self._get_replica),
            web.put(_REPLICA, self._put_replica),
            web.delete(_REPLICA, self._delete_replica),
            web.get(f"{_REPLICA}/history", self._get_history),
            web.post(f"{_REPLICA}/drain", self._action(Drain)),
            web.post(f"{_REPLICA}/undrain", self._action(Undrain)),
            web.post(f"{_REPLICA}/heartbeat", self._action(Heartbeat)),
            web.get("/v1/nodes", self._get_nodes),
            web.get("/metrics", self._get_metrics),
            web.get("/livez", self._get_live),
            web.get("/readyz", self._get_ready),
        )

    async def _get_pools(self, _request: web.Request) -> web.Response:
        return _answer({"pools": [self._pool(name) for name in self.plane.fleet.pools]})

    async def _get_pool(self, request: web.Request) -> web.Response:
        return _answer(self._pool(name_in_path(request, "pool")))

    async def _put_pool(self, request: web.Request) -> web.Response:
        name = name_in_path(request, "pool")
        settings = await settings_in_body(request, PoolSettings, "name", name, self.read_timeout)
        is_new = name not in self.plane.fleet.pools
        await self._apply(PutPool(name, settings), request)
        return _answer(self._pool(name), HTTPStatus.CREATED if is_new else HTTPStatus.OK)

    async def _delete_pool(self, request: web.Request) -> web.Response:
        await self._apply(DeletePool(name_in_path(request, "pool")), request)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _get_replicas(self, request: web.Request) -> web.Response:
        pool = self.plane.fleet.pool(name_in_path(request, "pool"))
        return _answer({"replicas": [self._replica(pool.name, id_) for id_ in pool.replicas]})

    async def _get_replica(self, request: web.Request) -> web.Response:
        return _answer(self._replica(*_names(request)))

    async def _put_replica(self, request: web.Request) -> web.Response:
        pool, id_ = _names(request)
        settings = await settings_in_body(request, ReplicaSettings, "id", id_, self.read_timeout)
        is_new = id_ not in self.plane.fleet.pool(pool).replicas
        await self._apply(PutReplica(pool, id_, settings), request)
        return _answer(self._replica(pool, id_), HTTPStatus.CREATED if is_new else HTTPStatus.OK)

    async def _delete_replica(self, request: web.Request) -> web.Response:
        await self._apply(DeleteReplica(*_names(request), force=is_forced(request)), request)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _get_history(self, request: web.Request) -> web.Response:
        since, (pool, id_), now = since_in_query(request), _names(request), self.clock()
        self.plane.fleet.pool(pool).replica(id_)
        told = self.plane.timelines.of(pool, id_, now, since)
        return _answer(history_view(pool, id_, told, now, time.time()))

    def _action(self, action: _Action) -> _Handler:
        async def act(request: web.Request) -> web.Response:
            pool, id_ = _names(request)
            await self._apply(action(pool, id_), request)
            return _answer(self._replica(pool, id_))

        return act

    async def _get_nodes(self, _request: web.Request) -> web.Response:
        return _answer(nodes_view(self.nodes(), self.clock()))

    async def _get_metrics(self, request: web.Request) -> web.Response:
        accept = ",".join(request.headers.getall("Accept", ()))
        text, content_type = self.metrics(accept)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _get_live(self, _request: web.Request) -> web.Response:
        return _answer({"live": True})

    async def _get_ready(self, _request: web.Request) -> web.Response:
        if self.ready():
            return _answer({"ready": True})
        return _answer({"ready": False}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def _apply(self, command: Command, request: web.Request) -> None:
        await self.apply(command, self.clock())
        _audit.info("%s asked for %s", request.remote, command)

    def _pool(self, name: str) -> dict[str, Any]:
        pool, now = self.plane.fleet.pool(name), self.clock()
        reports = (self.plane.report(name, id_, now) for id_ in pool.replicas)
        long = self.plane.long_requests(name)
        discovery = discovery_view(self.plane.discoveries.report(name), now)
        view = pool_view(pool, reports, self.plane.weighing(name), long)
        return {**view, "discovery": discovery}

    def _replica(self, pool: str, id_: str) -> dict[str, Any]:
        now = self.clock()
        return replica_view(self.plane.report(pool, id_, now), now)


def _names(request: web.Request) -> tuple[str, str]:
    return name_in_path(request, "pool"), name_in_path(request, "replica")


def _answer(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    text = json.dumps(document, allow_nan=False)
    return web.Response(status=status, text=f"{text}\n", content_type="application/json")
