"""The HTTP server: binds an address, and puts the guard and the error documents around the API."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from controlplane.edges.binding import BindError, check_bindable
from controlplane.edges.rest import dashboard
from controlplane.edges.rest.body import MAX_BYTES
from controlplane.edges.rest.changes import CarryOut, Changes
from controlplane.edges.rest.doorway import MAX_CONNECTIONS, delivered, doorway
from controlplane.edges.rest.feed import Feed
from controlplane.edges.rest.general import General
from controlplane.edges.rest.guard import guard, may_stay
from controlplane.edges.rest.node_events import NodeEvents
from controlplane.edges.rest.openapi import document
from controlplane.edges.rest.operations import Operation
from controlplane.edges.rest.pools import Pools
from controlplane.edges.rest.probes import ProbeThread
from controlplane.edges.rest.problems import problems
from controlplane.edges.rest.reference import reference
from controlplane.edges.rest.replicas import Replicas
from controlplane.edges.rest.stream import EventStream
from controlplane.edges.rest.watch import Watch
from controlplane.edges.turns import Turns, encoded
from controlplane.fleet import AuditLog
from controlplane.plane import Plane
from controlplane.settings import Address, AdminSettings, Role, Token
from controlplane.xds.events import Event
from controlplane.xds.nodes import NodeStatus

_LINGER: Final = 1.0
"""Seconds for a client to finish a body that was refused, so that it reads why."""

_PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much clients may keep the server busy.

    Attributes:
        body: Seconds for a body to arrive.
        idle: Seconds for the first line and the headers of a request to arrive.
        answer: Seconds for a client to take an answer, or what is written to a stream at once.
        heartbeat: Seconds after which a stream of events says that there are none.
        connections: How many may be open.
    """

    body: float = 10.0
    idle: float = 15.0
    answer: float = 20.0
    heartbeat: float = 15.0
    connections: int = MAX_CONNECTIONS


class RestServer:
    """The REST API. `start` it, and `stop` it before the event loop ends."""

    def __init__(
        self,
        admin: AdminSettings,
        plane: Plane,
        *,
        carry_out: CarryOut,
        nodes: Callable[[], Sequence[NodeStatus]],
        audit: AuditLog,
        ready: Callable[[], bool],
        metrics: Callable[[str], Awaitable[tuple[bytes, str]]],
        tokens: Sequence[Token] = (),
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare a server.

        Args:
            admin: Where to serve, port 0 takes a free one; and where replicas may be.
            plane: What is served.
            carry_out: Carries out a command on the plane; what it has done outlives us.
            nodes: The connected Envoys.
            audit: Who changed what.
            ready: Whether Envoys are served.
            metrics: The exposition and its content type, for a request's ``Accept``.
            tokens: Of which every request must carry one, until `accept` gives others; without any
                only this machine is answered.
            limits: To what clients may do.
            clock: Seconds that never go back; the one of the plane and of the nodes.
            wall_clock: Seconds since 1970, for histories.
        """
        self._address, self._tokens, self._limits = admin.address, tokens, limits
        self._plane, self._clock = plane, clock
        self._feed = Feed()
        self._node_events = NodeEvents(self._feed)
        self._watch = Watch(plane, self._feed)
        changes = Changes(plane, carry_out, self._watch, admin, clock)
        self._pools = Pools(changes, limits.body)
        self._events = events = EventStream(
            self._feed,
            self._state,
            may_stay=lambda request: may_stay(request, self._tokens, Role.READ),
            heartbeat=limits.heartbeat,
            stalled=limits.answer,
        )
        self.operations: tuple[Operation, ...] = (
            *self._pools.operations(),
            *Replicas(changes, limits.body, wall_clock).operations(),
            *General(nodes, events, audit, ready, metrics, clock, plane.disputes).operations(),
        )
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self._probes: ProbeThread | None = None
        self._coming: set[asyncio.Task[object]] = set()

    def look(self) -> None:
        """Look at what has changed in the plane, for those who follow."""
        self._watch.look(self._clock())

    def observe(self, node: str, event: Event) -> None:
        """Take in what has happened on a stream of a node, for those who follow the events."""
        self._node_events.observe(node, event)

    def accept(self, tokens: Sequence[Token]) -> None:
        """Let in who has one of these tokens from now on, and nobody else."""
        self._tokens = tokens

    async def start(self) -> Address:
        """Begin to serve.

        Returns:
            The address served on, with the real port.

        Raises:
            BindError: When the address is in use or cannot be bound.
        """
        await check_bindable("the API", self._address)
        app = web.Application(
            middlewares=(delivered(self._limits.answer), problems, guard(lambda: self._tokens)),
            client_max_size=MAX_BYTES,
        )
        app.add_routes([operation.route for operation in self.operations])
        app.add_routes(_described(self.operations))
        # Bodies are small, so none is taken compressed: what was not unpacked is no bomb.
        runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            lingering_time=_LINGER,
            keepalive_timeout=self._limits.idle,
        )
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("a runner that was set up has a server")
        loop, wanted = asyncio.get_running_loop(), self._address
        let_in = doorway(runner.server, self._limits.connections)
        try:
            # It only binds: the thread for probes accepts.
            bound = await loop.create_server(let_in, wanted.host, wanted.port, start_serving=False)
        except OSError:
            await runner.cleanup()
            raise BindError(f"cannot serve the API on {wanted}") from None
        self._runner = runner
        listening = [each.dup() for each in bound.sockets]
        address = Address(wanted.host, listening[0].getsockname()[1])
        bound.close()

        def hand_over(connection: socket.socket) -> None:
            coming = loop.create_task(loop.connect_accepted_socket(let_in, connection))
            self._coming.add(coming)
            coming.add_done_callback(self._came)

        self._probes = ProbeThread(listening, hand_over, self._ready, self._limits.idle)
        self._probes.start()
        return address

    def _came(self, coming: asyncio.Task[object]) -> None:
        self._coming.discard(coming)
        if not coming.cancelled():
            coming.exception()  # It has left.

    async def stop(self, grace: float) -> None:
        """Take no new connections and end the open ones, by force after `grace` seconds."""
        if self._runner is None or self._runner.server is None:
            return
        if self._probes is not None:
            await self._probes.stop()
        self._feed.close()
        self._runner.server.pre_shutdown()
        # It waits twice: for a handler to end, and for its cancellation to.
        await self._runner.server.shutdown(grace / 2)
        await self._runner.cleanup()
        self._runner = None

    async def _state(self) -> str:
        return await encoded({"pools": await self._pools.views()}, Turns())


def _described(operations: Sequence[Operation]) -> tuple[web.RouteDef, ...]:
    """The endpoints that describe the others, and the page that shows what they say."""
    described = document(operations)
    text, page = json.dumps(described, indent=2) + "\n", reference(described)

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json")

    async def docs(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def overview(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": dashboard.POLICY}
        return web.Response(text=dashboard.PAGE, content_type="text/html", headers=headers)

    return web.get("/openapi.json", openapi), web.get("/docs", docs), web.get("/", overview)
