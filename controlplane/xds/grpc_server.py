"""A gRPC server on a port, with certificates that can be replaced while it serves."""

import asyncio
import resource
from collections.abc import Iterable
from typing import Final

import grpc

from controlplane.binding import BindError, check_bindable
from controlplane.config import Address
from controlplane.identity import Credentials
from controlplane.xds.connection import Methods
from controlplane.xds.silent_sockets import end_silent

_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    # Envoy and istiod ping as often as they like; by default gRPC answers pings more frequent than
    # every 5 minutes, on a connection without calls or data, by closing it.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that is gone or stopped answers no pings; without them its streams would stay.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A peer that connects and opens no stream, or does not even speak HTTP/2.
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.server_handshake_timeout_ms", 20_000),
    # Two servers on one port would each get some of the connections.
    ("grpc.so_reuseport", 0),
)


MAX_CONNECTIONS: Final = 10_000
"""At a time; more are closed. Nor may they be more than half of the files that the process may
open: REST and scrapes need the others."""

_CROWDED: Final = 0.75
"""Part of them from which on a connection that has said nothing for `_SILENCE` seconds is ended."""
_SILENCE: Final = 1.0

_making_room = set[asyncio.Task[None]]()


class ReloadableCredentials:
    """What a server serves with; a change takes effect with the next connection, and ends none."""

    def __init__(self, credentials: Credentials | None) -> None:
        """Begin with some; None: the server serves in plain text, also later."""
        self._newest = self._given = credentials

    def accept(self, credentials: Credentials) -> None:
        """Replace them by others, which were checked."""
        if self._newest is not None:
            self._newest = credentials

    def add_port(self, server: grpc.aio.Server, address: str) -> int:
        """Have a server listen, before it starts; returns the real port."""
        if self._given is None:
            return server.add_insecure_port(address)
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._given),
            self._fetch,  # type: ignore[arg-type]  # None says that nothing has changed
            require_client_authentication=self._given.client_ca is not None,
        )
        return server.add_secure_port(address, credentials)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # In a thread of gRPC, before each handshake.
        newest = self._newest
        if newest is None or newest is self._given:
            return None
        self._given = newest
        return _configuration(newest)


def _configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    pairs = [(credentials.key, credentials.certificate)]
    return grpc.ssl_server_certificate_configuration(pairs, credentials.client_ca)


async def serve(
    name: str,
    address: Address,
    credentials: ReloadableCredentials,
    services: Iterable[tuple[str, Methods]],
    options: Iterable[tuple[str, int]],
    max_streams: int,
) -> tuple[grpc.aio.Server, Address]:
    """Begin to serve; returns the server and the address with the real port."""
    await check_bindable(name, address)
    most = _most_connections()
    limits = (*_OPTIONS, ("grpc.max_allowed_incoming_connections", most), *options)
    server = grpc.aio.server(options=limits, maximum_concurrent_rpcs=max_streams)
    for service, methods in services:
        handler = grpc.method_handlers_generic_handler(service, methods)
        server.add_generic_rpc_handlers((handler,))
    try:
        port = credentials.add_port(server, str(address))
    except RuntimeError:
        raise BindError(f"cannot serve {name} on {address}") from None
    await server.start()
    task = asyncio.create_task(_make_room(server, port, most), name=f"{name}: silent connections")
    _making_room.add(task)
    task.add_done_callback(_making_room.discard)
    return server, Address(address.host, port)


def _most_connections() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if files == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, files // 2)


async def _make_room(server: grpc.aio.Server, port: int, most: int) -> None:
    """End silent connections where places become scarce, until the server ends."""
    # It says whether the time was over before the server.
    while await server.wait_for_termination(_SILENCE):
        await asyncio.to_thread(end_silent, port, int(_CROWDED * most), _SILENCE)
