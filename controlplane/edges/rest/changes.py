"""How the API changes anything: checked, in one step of the plane, then told to who must know."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Self, TypeAlias

from aiohttp import web
from pydantic import Field, model_validator

from controlplane.edges.rest.etags import etag
from controlplane.edges.rest.guard import Principal, who
from controlplane.edges.rest.preview_view import preview_view
from controlplane.edges.rest.watch import Watch
from controlplane.edges.turns import Turns, encoded
from controlplane.fleet import (
    Command,
    Fleet,
    Pool,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    Replica,
    refuse_foreign,
)
from controlplane.plane import Plane, preview
from controlplane.settings import (
    AdminSettings,
    ReplicaEntry,
    ReplicaSettings,
    Role,
    SettingsError,
)
from controlplane.settings.networks import check_pool, check_replica
from controlplane.settings.values import Settings

MAX_POOLS: Final = 2_000
MAX_REPLICAS: Final = 50_000
"""Of all pools together. Each has series of its own in the metrics and places in memory, so that
somebody who registers without end must come to one."""

MAX_BATCH: Final = 1_000


Check: TypeAlias = Callable[[Fleet], None]

CarryOut: TypeAlias = Callable[[Command, float, Check, str], Awaitable[None]]
"""Carries out a command at a time on a fleet that a check lets through, in somebody's name; that
outlives us."""


class ReplicaBatch(Settings):
    """Replicas to be added or changed together; those that are not named stay as they are."""

    replicas: tuple[ReplicaEntry, ...] = Field(strict=False, min_length=1, max_length=MAX_BATCH)

    @model_validator(mode="after")
    def _replicas_differ(self) -> Self:
        for key in ("id", "address"):
            seen = set()
            for index, replica in enumerate(self.replicas):
                if (value := getattr(replica, key)) in seen:
                    raise SettingsError(
                        f"two replicas have the {key} {value}; each needs its own",
                        ("replicas", index, key),
                    )
                seen.add(value)
        return self

    def by_id(self) -> dict[str, Any]:
        """The settings of each."""
        return {replica.id: replica.settings() for replica in self.replicas}

    @contextmanager
    def pointing(self) -> Iterator[None]:
        """While this is open, what is refused for the sake of one of them says which."""
        try:
            yield
        except Refused as refused:
            ids = [replica.id for replica in self.replicas]
            if refused.replica not in ids:
                raise
            path = ("replicas", ids.index(refused.replica), *refused.path)
            raise Refused(refused.kind, str(refused), path, refused.replica) from refused


@dataclass(frozen=True, slots=True)
class Changes:
    """What it takes to carry out a command.

    Attributes:
        plane: That is changed.
        carry_out: Carries out a command.
        watch: Looks at what has changed.
        admin: Says where replicas may be.
        clock: Seconds that never go back; of the plane.
    """

    plane: Plane
    carry_out: CarryOut
    watch: Watch
    admin: AdminSettings
    clock: Callable[[], float]

    async def apply(
        self, command: Command, request: web.Request, check: Check = lambda _fleet: None
    ) -> None:
        """Carry out a command in the name of whoever has sent the request.

        Args:
            command: What is asked.
            request: That asks for it.
            check: Refuses the fleet that the command is about to be applied to.

        Raises:
            SettingsError: An address is where no replica may be.
            Refused: By `check`, by the fleet, or because there are too many; nothing has changed.
        """
        self._check(command)
        asks = who(request)
        if isinstance(command, PutReplica | PutReplicas):
            command = replace(command, owner=asks.owner)

        def checked(fleet: Fleet) -> None:
            _check_owner(fleet, command, asks)
            check(fleet)

        now = self.clock()
        await self.carry_out(command, now, checked, asks.name)
        self.watch.look(now)

    async def preview(
        self, command: Command, request: web.Request, check: Check = lambda _fleet: None
    ) -> web.Response:
        """Answer what a command would come to; raises what `apply` does."""
        self._check(command)
        _check_owner(self.plane.fleet, command, who(request))
        check(self.plane.fleet)
        imagined = preview(self.plane, command, self.clock())
        # Decoding what Envoys are sent takes a while for many endpoints.
        return answer(await asyncio.to_thread(preview_view, imagined, command.pool))

    def _check(self, command: Command) -> None:
        allowed = self.admin.networks
        pools = self.plane.fleet.pools
        match command:
            case PutPool(name, settings):
                check_pool(allowed, settings)
                if name not in pools and len(pools) >= MAX_POOLS:
                    raise Refused("conflict", f"there are {MAX_POOLS} pools already, the most")
            case PutReplica(name, id_, settings):
                check_replica(allowed, settings)
                self._check_room(name, {id_: settings})
                self._check_moved({id_: settings})
            case PutReplicas(name, replicas):
                for index, settings in enumerate(replicas.values()):
                    check_replica(allowed, settings, ("replicas", index))
                self._check_room(name, replicas)
                self._check_moved(replicas)

    def _check_moved(self, replicas: Mapping[str, ReplicaSettings]) -> None:
        """Refuse a replica where a connected Envoy listens, other than its pool says."""
        for id_, settings in replicas.items():
            if (why := self.plane.listeners.listeners.refusal(settings.address)) is not None:
                raise Refused("conflict", why, ("address",), id_)

    def _check_room(self, name: str, replicas: Mapping[str, object]) -> None:
        known = self.plane.fleet.pool(name).replicas
        more = sum(id_ not in known for id_ in replicas)
        there = sum(len(pool.replicas) for pool in self.plane.fleet.pools.values())
        if more and there + more > MAX_REPLICAS:
            raise Refused("conflict", f"there would be more than {MAX_REPLICAS} replicas")


def _check_owner(fleet: Fleet, command: Command, asks: Principal) -> None:
    """Refuse a change of somebody else's replica, unless the role is for all of them."""
    if not asks.role.includes(Role.OPERATE):
        refuse_foreign(fleet, command, asks.name)


def answer(
    document: dict[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    about: Pool | Replica | None = None,
) -> web.Response:
    """A document as JSON, with the ETag of what it is about."""
    return _response(json.dumps(document, allow_nan=False), status, about)


async def long_answer(
    document: dict[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    about: Pool | Replica | None = None,
) -> web.Response:
    """The same of a document that may be long."""
    return _response(await encoded(document, Turns()), status, about)


def _response(text: str, status: HTTPStatus, about: Pool | Replica | None) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if about is not None:
        headers["ETag"] = etag(about)
    return web.Response(
        status=status, text=f"{text}\n", content_type="application/json", headers=headers
    )
