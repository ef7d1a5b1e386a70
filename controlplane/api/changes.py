"""Change the plane: check a command, carry it out in one step, then look for events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.auth import Principal, sender_of
from controlplane.api.envoy_views import preview_view
from controlplane.api.events import Watch
from controlplane.api.schema.requests import ReplicaBatch
from controlplane.config import AdminSettings, ReplicaSettings, Role
from controlplane.fleet import (
    Command,
    Fleet,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    refuse_foreign,
)
from controlplane.plane import Plane, preview
from controlplane.turns import in_turns

MAX_POOLS: Final = 2_000
MAX_REPLICAS: Final = 50_000
"""In all pools together. Each replica takes memory and series in the metrics, so a client that
registers without end must meet a limit."""

Check: TypeAlias = Callable[[Fleet], None]

CarryOut: TypeAlias = Callable[[Command, float, Check, str], Awaitable[None]]
"""Carries out a command at a time, on a fleet that passes a check, in a client's name. The change
is on disk on return."""


@contextmanager
def pointing(batch: ReplicaBatch) -> Iterator[None]:
    """Make a refusal of one replica of a batch point to that replica."""
    try:
        yield
    except Refused as refused:
        ids = [replica.id for replica in batch.replicas]
        if refused.replica not in ids:
            raise
        path = ("replicas", ids.index(refused.replica), *refused.path)
        raise Refused(refused.kind, str(refused), path, refused.replica) from refused


@dataclass(frozen=True, slots=True)
class Changes:
    """Carries out commands in the name of a client, by the plane's monotonic clock."""

    plane: Plane
    carry_out: CarryOut
    watch: Watch
    admin: AdminSettings
    clock: Callable[[], float]

    async def apply(
        self, command: Command, request: web.Request, check: Check = lambda _fleet: None
    ) -> None:
        """Carry out a command in the name of the request's client; `check` may refuse the fleet.

        Raises:
            SettingsError: No replica may have this address.
            Refused: `check` or the fleet refuses, or there are too many; nothing has changed.
        """
        self._check(command)
        client = sender_of(request)
        if isinstance(command, PutReplica | PutReplicas):
            command = replace(command, owner=client.owner)

        def checked(fleet: Fleet) -> None:
            _check_owner(fleet, command, client)
            check(fleet)

        now = self.clock()
        await self.carry_out(command, now, checked, client.name)
        await in_turns(self.watch.looking(now))

    async def preview(
        self, command: Command, request: web.Request, check: Check = lambda _fleet: None
    ) -> web.Response:
        """Answer what a command would lead to; raises what `apply` raises."""
        self._check(command)
        _check_owner(self.plane.fleet, command, sender_of(request))
        check(self.plane.fleet)
        imagined = preview(self.plane, command, self.clock())
        # Decoding what Envoys are sent takes a while for many endpoints.
        return answer(await asyncio.to_thread(preview_view, imagined, command.pool))

    def _check(self, command: Command) -> None:
        pools = self.plane.fleet.pools
        match command:
            case PutPool(name, settings):
                self.admin.check_pool(settings)
                if name not in pools and len(pools) >= MAX_POOLS:
                    raise Refused("conflict", f"there are {MAX_POOLS} pools already, the maximum")
            case PutReplica(name, id_, settings):
                self.admin.check_replica(settings)
                self._check_room(name, {id_: settings})
                self._check_moved({id_: settings})
            case PutReplicas(name, replicas):
                for index, settings in enumerate(replicas.values()):
                    self.admin.check_replica(settings, ("replicas", index))
                self._check_room(name, replicas)
                self._check_moved(replicas)

    def _check_moved(self, replicas: Mapping[str, ReplicaSettings]) -> None:
        """Refuse a replica at an address where a connected Envoy listens."""
        for id_, settings in replicas.items():
            for at in settings.places:
                if (why := self.plane.listeners.listeners.refusal(at)) is not None:
                    key = "address" if at == settings.address else "ingress"
                    raise Refused("conflict", why, (key,), id_)

    def _check_room(self, name: str, replicas: Mapping[str, object]) -> None:
        known = self.plane.fleet.pool(name).replicas
        more = sum(id_ not in known for id_ in replicas)
        there = sum(len(pool.replicas) for pool in self.plane.fleet.pools.values())
        if more and there + more > MAX_REPLICAS:
            raise Refused("conflict", f"there would be more than {MAX_REPLICAS} replicas")


def _check_owner(fleet: Fleet, command: Command, client: Principal) -> None:
    """Refuse a change of somebody else's replica, unless the role covers all replicas."""
    if not client.role.includes(Role.OPERATE):
        refuse_foreign(fleet, command, client.name)
