"""The gRPC server: ports, methods, the open streams, and which of them a change concerns."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import grpc

from controlplane.config import Address
from controlplane.identity import Credentials, Identity
from controlplane.latest import Latest
from controlplane.resources.classes import pool_of
from controlplane.resources.resource import ENDPOINT, Changes
from controlplane.resources.views import View
from controlplane.turns import Turns
from controlplane.xds.authentication import REFUSALS, Authenticator, XdsTls
from controlplane.xds.client_status_service import ClientStatusService
from controlplane.xds.connection import (
    FIRST_REQUEST,
    Connection,
    Context,
    Methods,
    StartupThrottle,
)
from controlplane.xds.events import Connected, Event, NodeStatus
from controlplane.xds.grpc_server import ReloadableCredentials, serve
from controlplane.xds.report_services import (
    AccessLogService,
    HealthReportingService,
    HealthSink,
    LoadReportingService,
    LoadSink,
    SampleSink,
)
from controlplane.xds.scaler_service import ScalerService, ScalerSource
from controlplane.xds.services import (
    SERVICES,
    Begin,
    Catalog,
    NodeObserver,
    Observer,
    Offer,
    PushObserver,
    SecretsOf,
)
from controlplane.xds.state import SharedStates


class StreamsByPool:
    """Members by their views, so that a change need not be offered to all."""

    def __init__(self) -> None:
        self._all_pools: set[Connection] = set()
        self._by_pool: defaultdict[str, set[Connection]] = defaultdict(set)

    def add(self, member: Connection, view: View) -> None:
        """Add a member."""
        if view.pools is None:
            self._all_pools.add(member)
        for pool in view.pools or ():
            self._by_pool[pool].add(member)

    def discard(self, member: Connection, view: View) -> None:
        """Remove a member, if it is one."""
        self._all_pools.discard(member)
        for pool in view.pools or ():
            if members := self._by_pool.get(pool):
                members.discard(member)
                if not members:
                    del self._by_pool[pool]

    def concerned(self, pools: Iterable[str]) -> set[Connection]:
        """The members that are shown any of these pools."""
        return self._all_pools.union(*(self._by_pool.get(pool, ()) for pool in pools))


MAX_STREAMS: Final = 10_000
"""Streams at a time, of all clients; more are refused with RESOURCE_EXHAUSTED."""

MAX_STREAMS_OF_CONNECTION: Final = 1_000
"""Streams at a time on one connection; an Envoy needs one, or five if it does not aggregate."""

MAX_MESSAGE_BYTES: Final = 4 << 20
"""Longer requests are refused; the first one of an Envoy has 60 kB."""

CATCHING_UP: Final = 32
"""Streams at a time that are given their first configuration."""

CONNECTION_GRACE: Final = 5.0
"""Seconds for streams to end on a connection that is too old; gRPC opens no new ones on it."""

CATCHING_UP_SECONDS: Final = 1.0
"""Seconds at most for a first configuration; a sidecar on a busy machine acknowledges late."""


class XdsServer:
    """The gRPC server. `start` it, and `stop` it before the event loop ends."""

    def __init__(
        self,
        address: Address,
        offered: Latest[Offer | None],
        observe: Observer,
        *,
        loads: LoadSink | None = None,
        samples: SampleSink | None = None,
        health: HealthSink | None = None,
        scaling: ScalerSource | None = None,
        pushes: Sequence[PushObserver] = (),
        node_observer: NodeObserver | None = None,
        tls: XdsTls | None = None,
        secrets: SecretsOf | None = None,
        max_streams: int = MAX_STREAMS,
        write_timeout: float = 20.0,
        first_request: float = FIRST_REQUEST,
        catching_up: int = CATCHING_UP,
        catching_up_seconds: float = CATCHING_UP_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare a server. Without one of the sinks, its service does not exist.

        Args:
            address: To serve on; port 0 takes a free one.
            offered: What to serve; None as long as nothing is loaded.
            node_observer: Follows which nodes are connected, and refuses nodes.
            tls: Certificates, and the rules of admission; None: plain text, and no rules.
            secrets: What a client with an identity holds of secrets; None: nobody has any.
            max_streams: At a time, of all clients.
            write_timeout: Seconds after which a client that reads nothing is cut off.
            first_request: Seconds after which a stream without a request ends.
            catching_up: Streams at a time that are given their first configuration.
            catching_up_seconds: For so long each, at most.
            clock: Seconds that never go back.
            wall_clock: Seconds since 1970, by which certificates expire.
        """
        self._address = address
        self._offered = offered
        self._observe = observe
        self._loads = loads
        self._samples = samples
        self._health = health
        self._pushes = pushes
        self._node_observer = node_observer
        self._tls = tls
        self._secrets = secrets
        self._credentials = ReloadableCredentials(tls.credentials if tls else None)
        self._authenticator = Authenticator(
            tls.admission if tls else None,
            observe,
            lambda: self._offered.value is not None,
            wall_clock,
        )
        self._scaler = ScalerService(scaling, self._authenticator) if scaling else None
        self._max_streams = max_streams
        self._write_timeout = write_timeout
        self._first_request = first_request
        self._throttle = StartupThrottle(catching_up, catching_up_seconds)
        self._clock = clock
        # In the order in which they came.
        self._connections: dict[Connection, None] = {}
        self._streams_by_pool = StreamsByPool()
        self._server: grpc.aio.Server | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> Address:
        """Begin to serve; returns the address with the real port, or raises `BindError`."""
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_concurrent_streams", MAX_STREAMS_OF_CONNECTION),
        ]
        if self._tls is not None:
            # gRPC varies it by a tenth, so that not all come again at once.
            options += [
                ("grpc.max_connection_age_ms", round(self._tls.max_connection_age * 1000)),
                ("grpc.max_connection_age_grace_ms", round(CONNECTION_GRACE * 1000)),
            ]
        self._server, address = await serve(
            "xDS", self._address, self._credentials, self._methods(), options, self._max_streams
        )
        self._tasks = (
            asyncio.create_task(
                self._wake(self._offered.revision, self._offered.value), name="xds: new catalogs"
            ),
            asyncio.create_task(self._watch(), name="xds: stalled readers"),
        )
        return address

    def _methods(self) -> Iterator[tuple[str, Methods]]:
        """The services, by name, with their methods."""
        shared_states = SharedStates()
        for service in SERVICES:
            begins = service.methods(shared_states).items()
            handler = grpc.stream_stream_rpc_method_handler
            yield service.name, {name: handler(partial(self._serve, each)) for name, each in begins}
        status = ClientStatusService(
            lambda: [connection.stream for connection in self._connections],
            lambda: offer.catalog if (offer := self._offered.value) else None,
            self._write_timeout,
            self._authenticator,
        )
        yield status.name, status.methods()
        who = self._authenticator
        for other in (
            LoadReportingService(self._loads, who) if self._loads else None,
            HealthReportingService(self._health, who, self._clock) if self._health else None,
            AccessLogService(self._samples, who, self._clock) if self._samples else None,
            self._scaler,
        ):
            if other is not None:
                yield other.name, other.methods()

    async def stop(self, grace: float) -> None:
        """Refuse new streams and end the open ones, by force after `grace` seconds.

        Envoys keep their configuration and try to reconnect.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            connection.end(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if self._scaler is not None:
            self._scaler.stop()
        if self._server:
            await self._server.stop(grace)

    def accept(self, credentials: Credentials) -> None:
        """Serve with these, which were checked, from the next connection on; no stream ends."""
        self._credentials.accept(credentials)

    async def renew_secrets(self) -> set[Identity]:
        """Send clients what has changed of their secrets; returns whose connections are open."""
        turns, connected = Turns(), set[Identity]()
        for connection in [*self._connections]:
            if connection.stream.identity is not None:
                connected.add(connection.stream.identity)
            self._give_secrets(connection)
            await turns.give_way()
        return connected

    def nodes(self) -> tuple[NodeStatus, ...]:
        """What is known of every connected node, by id."""
        known = (connection.stream.status() for connection in self._connections)
        return tuple(sorted(filter(None, known), key=lambda status: status.id))

    def grpc_pools(self) -> set[str]:
        """The names of the pools that gRPC clients use."""
        return {
            pool_of(name)
            for connection in self._connections
            if (view := connection.stream.view) is not None and view.is_grpc
            for name in connection.stream.wanted(ENDPOINT)
        }

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._connections)

    @property
    def nodes_connected(self) -> int:
        """How many streams are of a node that has introduced itself."""
        return sum(connection.stream.node is not None for connection in self._connections)

    @property
    def nodes_rejecting(self) -> int:
        """How many of them have rejected a resource, and not accepted another version since."""
        return sum(connection.stream.is_rejecting for connection in self._connections)

    @property
    def streams_waiting(self) -> int:
        """How many of them have something to be sent that was not written yet."""
        return sum(connection.is_waiting for connection in self._connections)

    async def _wake(self, count: int, offer: Offer | None) -> None:
        """Offer each catalog that is newer than this one to the connections that it concerns."""
        seen = offer.catalog.revision if offer else None
        while True:
            count = await self._offered.newer_than(count)
            offer = self._offered.value
            if offer is None:
                continue
            changes = offer.catalog.changed_since(seen)
            seen = offer.catalog.revision
            concerned = self._concerned(changes)
            for pushes in self._pushes:
                pushes.begun(concerned, offer.noticed_at)
            for connection in concerned:
                connection.wake()

    async def _watch(self) -> None:
        """Cut off streams that read nothing; one look at all costs less than a timer each."""
        while True:
            await asyncio.sleep(self._write_timeout / 10)
            self._authenticator.look()
            for connection in [*self._connections]:
                connection.cut_if_stalled(self._write_timeout)
                connection.cut_if_silent(self._first_request)
                if why := self._authenticator.refusal(connection.stream.identity):
                    connection.end(grpc.StatusCode.UNAUTHENTICATED, why)

    def _concerned(self, changes: Changes | None) -> Collection[Connection]:
        if changes is None:
            return self._connections
        # A pool may have a resource beside the one of its own name.
        names = frozenset().union(*changes.values())
        return self._streams_by_pool.concerned({pool_of(name) for name in names})

    async def _serve(self, begin: Begin, _: AsyncIterator[bytes], context: Context) -> None:
        """Serve one stream; gRPC cancels this when the client leaves."""
        # Without a configuration an empty answer would take away all that Envoy has (istio#25495).
        async with self._authenticator.call(context) as identity:
            leave = self._authenticator.silent.enter(context.peer())
        connection = Connection(
            begin(identity),
            report=self._report,
            pushes=self._pushes,
            first_request_came=leave,
            clock=self._clock,
        )
        self._connections[connection] = None
        self._give_secrets(connection)
        reader = asyncio.create_task(connection.read(context), name="xds: reader")
        try:
            await connection.write(context, self._newest, self._throttle)
        finally:
            reader.cancel()
            leave()
            del self._connections[connection]
            for pushes in self._pushes:
                pushes.gone(connection)
            if self._node_observer:
                self._node_observer.envoy_left(connection)
            if connection.stream.view:
                self._streams_by_pool.discard(connection, connection.stream.view)
            await asyncio.gather(reader, return_exceptions=True)
        if connection.ending and connection.ending[0] is not grpc.StatusCode.OK:
            code, reason = connection.ending
            if connection.stream.node is None and code.name in REFUSALS:
                self._authenticator.refused(context, identity, reason)
            # With a client that does not read this lasts until it reads or its connection ends;
            # all that it holds is the one response that the client did not take.
            await context.abort(*connection.ending)

    def _newest(self) -> Catalog:
        offer = self._offered.value
        if offer is None:
            raise RuntimeError("a catalog that was loaded is gone")
        return offer.catalog

    def _give_secrets(self, connection: Connection) -> None:
        """Let a client hold its own; a name that it asks for says nothing about whose they are."""
        identity = connection.stream.identity
        if self._secrets is None or identity is None:
            return
        connection.stream.secrets = self._secrets(identity)
        if connection.stream.has_work:
            connection.wake()

    def _report(self, connection: Connection, event: Event) -> None:
        node, view = connection.stream.node, connection.stream.view
        if node is None or view is None:
            return
        if isinstance(event, Connected):
            self._streams_by_pool.add(connection, view)
            if self._node_observer and (
                why := self._node_observer.envoy_came(connection, node.id, view)
            ):
                connection.end(grpc.StatusCode.INVALID_ARGUMENT, why)
        for pushes in self._pushes:
            pushes.happened(connection, node.id, event)
        self._observe(node.id, event)
