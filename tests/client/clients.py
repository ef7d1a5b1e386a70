"""Clients of a real API server, and what they have sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.client import Client
from controlplane.client.connection import Call, Received
from tests.api.served import Served


@asynccontextmanager
async def client(api: Served, token: str | None = None) -> AsyncIterator[Client]:
    """Of a server."""
    async with Client(f"http://{api.address}", token=token) as here:
        yield here


def sent(here: Client) -> list[Call]:
    """Every call from now on, also of streams."""
    calls: list[Call] = []
    connection = here._connection
    send, stream = connection.send, connection.stream

    async def recorded(call: Call, expected: tuple[int, ...] = ()) -> Received:
        calls.append(call)
        return await send(call, expected)

    @asynccontextmanager
    async def streamed(call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        calls.append(call)
        async with stream(call) as pieces:
            yield pieces

    connection.send, connection.stream = recorded, streamed  # type: ignore[method-assign]
    return calls
