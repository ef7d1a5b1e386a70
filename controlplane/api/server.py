"""The HTTP server: binds an address and routes every operation to its handler.

Every request passes the same steps: connection limit, error documents, token, role, query, handler.
"""

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from controlplane.api import pages
from controlplane.api.answers import Handler, answer_errors, encoded
from controlplane.api.auth import ClientCertificates, guard, may_stay, server_context
from controlplane.api.changes import CarryOut, Changes
from controlplane.api.connections import MAX_CONNECTIONS, accepting
from controlplane.api.events import EventStream, Feed, NodeEvents, Watch
from controlplane.api.handlers import Handlers, Metrics, route
from controlplane.api.probes import ProbeThread
from controlplane.api.requests import MAX_BYTES
from controlplane.binding import BindError, check_bindable
from controlplane.ca.issuing import Issuer
from controlplane.config import Address, AdminSettings, Role, Token
from controlplane.fleet import AuditLog, Change
from controlplane.identity import Credentials, none_revoked
from controlplane.plane import Plane
from controlplane.turns import Turns
from controlplane.xds import Event, NodeStatus


def delivered(seconds: float) -> Middleware:
    """Return a middleware that cuts off a client that does not read its answer in so many seconds.

    An event stream has a limit of its own.
    """

    @web.middleware
    async def deliver(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.Response):
            try:
                async with asyncio.timeout(seconds):
                    await response.prepare(request)
                    await response.write_eof()
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
            except ConnectionError:
                pass  # The client has left.
        return response

    return deliver


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take; times in seconds.

    Attributes:
        body: For a body to arrive.
        idle: For the first line and the headers of a request to arrive.
        answer: For a client to take an answer, or a piece of an event stream.
        heartbeat: Without an event until an event stream sends a comment.
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
        metrics: Metrics,
        tokens: Sequence[Token] = (),
        credentials: Credentials | None = None,
        issuer: Issuer | None = None,
        middlewares: Sequence[Middleware] = (),
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare a server.

        Args:
            admin: The address to serve on (port 0: a free one), and where replicas may be.
            tokens: A request needs one, or a certificate of a client of `admin`; without either,
                only programs of this machine are answered. `accept` replaces them.
            issuer: Issues certificates to nodes that join, and knows the revoked ones; None: none.
            middlewares: Around the handlers, for requests that are let in.
            clock: The monotonic clock of the plane and of the nodes.
            wall_clock: Seconds since 1970, for histories.
        """
        self._address, self._tokens, self._limits = admin.address, tokens, limits
        self._context = server_context(credentials) if credentials else None
        self._certificates = ClientCertificates(
            admin.tls.clients if admin.tls else {},
            wall_clock,
            issuer.is_revoked if issuer else none_revoked,
        )
        self._plane, self._clock = plane, clock
        self._feed = Feed()
        self._node_events = NodeEvents(self._feed)
        self._watch = Watch(plane, self._feed)
        changes = Changes(plane, carry_out, self._watch, admin, clock)
        self._events = EventStream(
            self._feed,
            self._state,
            may_stay=lambda request: may_stay(request, self._tokens, Role.READ, self._certificates),
            heartbeat=limits.heartbeat,
            stalled=limits.answer,
        )
        self._handlers = Handlers(
            changes,
            self._events,
            nodes=nodes,
            refusals=lambda: self._node_events.refusals(self._clock()),
            audit=audit,
            ready=ready,
            metrics=metrics,
            wall_clock=wall_clock,
            body_timeout=limits.body,
            issuer=issuer,
        )
        self.routes = self._handlers.routes()
        self._middlewares = middlewares
        self._ready = ready
        self._runner: web.AppRunner | None = None
        self._probes: ProbeThread | None = None
        self._coming: set[asyncio.Task[object]] = set()

    def changed(self, changes: Iterable[Change]) -> None:
        """Publish what has changed in the fleet."""
        self._watch.changed(changes, self._clock())

    def looking(self) -> Iterator[None]:
        """Publish what weighing has changed, a replica at a time."""
        return self._watch.looking(self._clock())

    def observe(self, node: str, event: Event) -> None:
        """Publish what has happened on a stream of a node."""
        self._node_events.observe(node, event, self._clock())

    def accept(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens

    def accept_credentials(self, credentials: Credentials) -> None:
        """Serve with checked credentials from the next connection on; no request is cut."""
        self._context = server_context(credentials)

    async def start(self) -> Address:
        """Begin to serve; returns the address with the real port."""
        await check_bindable("the API", self._address)
        app = web.Application(
            middlewares=(
                delivered(self._limits.answer),
                answer_errors,
                guard(lambda: self._tokens, self._certificates),
                *self._middlewares,
            ),
            client_max_size=MAX_BYTES,
        )
        app.add_routes([route(*each, self._limits.body) for each in self.routes])
        # The schemas of all answers take half a second.
        app.add_routes(await asyncio.to_thread(pages.routes))
        runner = web.AppRunner(app)
        await runner.setup()
        if runner.server is None:
            raise RuntimeError("a runner that was set up has a server")
        loop, wanted = asyncio.get_running_loop(), self._address
        protocol = accepting(runner.server, self._limits.connections, self._limits.idle)
        try:
            # This only binds; the thread for probes accepts.
            bound = await loop.create_server(
                protocol, wanted.host, wanted.port, start_serving=False
            )
        except OSError as error:
            await runner.cleanup()
            # asyncio's message repeats the address; the code of a failed look-up is negative.
            code = error.errno or 0
            reason = os.strerror(code).lower() if code > 0 else "its name cannot be looked up"
            raise BindError(f"cannot serve the API on {wanted}: {reason}") from None
        self._runner = runner
        listening = [each.dup() for each in bound.sockets]
        address = Address(wanted.host, listening[0].getsockname()[1])
        bound.close()

        def hand_over(connection: socket.socket) -> None:
            # A handshake takes as long as its client likes.
            if self._context and len(self._coming) >= self._limits.connections:
                connection.close()
                return
            coming = loop.create_task(self._connect(protocol, connection))
            self._coming.add(coming)
            coming.add_done_callback(self._coming.discard)

        self._probes = ProbeThread(listening, hand_over, self._ready, self._limits.idle)
        self._probes.start()
        return address

    async def _connect(
        self, protocol: Callable[[], asyncio.BaseProtocol], connection: socket.socket
    ) -> None:
        loop, context = asyncio.get_running_loop(), self._context
        timeout = self._limits.idle if context else None
        try:
            peer = Address(*connection.getpeername()[:2])
            await loop.connect_accepted_socket(
                protocol, connection, ssl=context, ssl_handshake_timeout=timeout
            )
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or (error.reason or "").lower()
            _log.warning("the API refuses a TLS connection from %s: %s", peer, why)
        except OSError:
            pass  # The client has left.

    async def stop(self, grace: float) -> None:
        """Take no new connections and end the open ones, by force after `grace` seconds."""
        if self._runner is None or self._runner.server is None:
            return
        if self._probes is not None:
            await self._probes.stop()
        self._feed.close()
        self._runner.server.pre_shutdown()
        # `shutdown` waits twice: for handlers to end, and for their cancellation.
        await self._runner.server.shutdown(grace / 2)
        await self._runner.cleanup()
        self._runner = None

    async def _state(self) -> str:
        return await encoded({"pools": await self._handlers.pool_views()}, Turns())
