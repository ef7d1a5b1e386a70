"""The endpoints for pools."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from controlplane.api.answers import PoolList, PoolView, PreviewView
from controlplane.api.changes import Changes, long_answer
from controlplane.api.etags import IF_MATCH, IF_NONE_MATCH, Preconditions
from controlplane.api.operations import Operation
from controlplane.api.query import Change, PoolPage, page_of, query_of
from controlplane.api.requests import name_in_path, settings_in_body
from controlplane.api.views import discovery_view, pool_view
from controlplane.fleet import DeletePool, Pool, PutPool
from controlplane.settings import PoolSettings, Role

_POOL: Final = "/v1/pools/{pool}"
_CHANGES: Final = (
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

_EXAMPLE: Final = {
    "model": "all-MiniLM-L6-v2",
    "listener": {"address": "127.0.0.1:10000"},
    "objective": {"p99": "250ms"},
}


@dataclass(frozen=True, slots=True)
class Pools:
    """Everything below ``/v1/pools`` that is about a pool.

    Attributes:
        changes: Carries out commands.
        read_timeout: Seconds for a body to arrive.
    """

    changes: Changes
    read_timeout: float

    def operations(self) -> tuple[Operation, ...]:
        """The endpoints."""
        return (
            Operation(
                "listPools",
                "GET",
                "/v1/pools",
                Role.READ,
                "List the pools",
                self.get_all,
                {HTTPStatus.OK: PoolList},
                query=PoolPage,
            ),
            Operation(
                "getPool",
                "GET",
                _POOL,
                Role.READ,
                "Show a pool",
                self.get,
                {HTTPStatus.OK: PoolView},
                problems=(HTTPStatus.NOT_FOUND,),
            ),
            Operation(
                "putPool",
                "PUT",
                _POOL,
                Role.OPERATE,
                "Add a pool, or change its settings",
                self.put,
                {HTTPStatus.OK: PoolView, HTTPStatus.CREATED: PoolView},
                query=Change,
                body=PoolSettings,
                example=_EXAMPLE,
                headers=(IF_MATCH, IF_NONE_MATCH),
                problems=_CHANGES,
                previews=PreviewView,
            ),
            Operation(
                "deletePool",
                "DELETE",
                _POOL,
                Role.OPERATE,
                "Remove a pool with its replicas",
                self.delete,
                {HTTPStatus.NO_CONTENT: None},
                query=Change,
                headers=(IF_MATCH,),
                problems=(HTTPStatus.NOT_FOUND, *_CHANGES),
                previews=PreviewView,
            ),
        )

    async def get_all(self, request: web.Request) -> web.Response:
        """In alphabetical order; all of them, unless `limit` asks for pages."""
        names, following = page_of(
            sorted(self.changes.plane.fleet.pools), query_of(request, PoolPage)
        )
        pools = self.changes.plane.fleet.pools
        views = [await self._view(pools[name]) for name in names]
        return await long_answer({"pools": views, "next": following})

    async def get(self, request: web.Request) -> web.Response:
        """Its settings are shown as they can be put; the ETag stands for them."""
        name = name_in_path(request, "pool")
        pool = self.changes.plane.fleet.pool(name)
        return await long_answer(await self._view(pool), about=pool)

    async def put(self, request: web.Request) -> web.Response:
        """The body says all of its settings; what it leaves out gets its default.

        The replicas of a pool that is there stay. The same again changes nothing. Of a pool that
        the config file declares, it overrides what it says otherwise.
        """
        name = name_in_path(request, "pool")
        settings = await settings_in_body(request, PoolSettings, "name", name, self.read_timeout)
        fleet = self.changes.plane.fleet
        command, check = PutPool(name, settings), Preconditions.of(request, name).check
        if query_of(request, Change).dry_run:
            return await self.changes.preview(command, request, check)
        await self.changes.apply(command, request, check)
        status = HTTPStatus.OK if name in fleet.pools else HTTPStatus.CREATED
        pool = self.changes.plane.fleet.pool(name)
        return await long_answer(await self._view(pool), status, pool)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Envoys forget it at once: drain its replicas first, and let requests finish.

        Of a pool that the config file declares only what was put here over it is removed.
        """
        name = name_in_path(request, "pool")
        self.changes.plane.fleet.pool(name)  # It is there at all.
        command, check = DeletePool(name), Preconditions.of(request, name).check
        if query_of(request, Change).dry_run:
            return await self.changes.preview(command, request, check)
        await self.changes.apply(command, request, check)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def views(self) -> list[dict[str, Any]]:
        """Every pool, as the list shows it."""
        pools = self.changes.plane.fleet.pools
        return [await self._view(pools[name]) for name in sorted(pools)]

    async def _view(self, pool: Pool) -> dict[str, Any]:
        plane, now, name = self.changes.plane, self.changes.clock(), pool.name
        reports = plane.reports(name, pool.replicas, now)
        view = await pool_view(pool, reports, plane.decision(name), plane.parting(name))
        return {**view, "discovery": discovery_view(plane.discoveries.report(name), now)}
