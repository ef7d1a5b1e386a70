"""Connections against real sockets: kept for the next request, replaced when they were closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from controlplane.edges.http_client import IDLE, Session
from controlplane.edges.http_response import AnswerError
from controlplane.settings import Address

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers the n-th request on each connection with the n-th answer; closes after the last."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for answer in self._answers:
            try:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            writer.write(answer)
        writer.close()
        self.ended.set()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Address]:
    started = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    async with started, asyncio.timeout(10):
        yield Address("127.0.0.1", started.sockets[0].getsockname()[1])


@asynccontextmanager
async def connections(clock: Callable[[], float] = lambda: 0.0) -> AsyncIterator[Session]:
    session = Session(clock)
    yield session
    session.close_idle()


async def test_a_connection_takes_one_request_after_the_other() -> None:
    server = Server(OK, OK, OK, OK)
    async with serving(server) as address, connections() as session:
        for _ in range(3):
            response, _ = await session.get(address, "/metrics", 10)
            assert response.body == b"ok"
    assert server.connections == 1


async def test_a_request_names_the_host_and_quotes_the_path() -> None:
    server = Server(OK)
    async with serving(server) as address, connections() as session:
        await session.get(address, "/a b?c=é", 10)
    assert server.requests[0].startswith(b"GET /a%20b?c=%C3%A9 HTTP/1.1\r\n")
    assert f"\r\nHost: {address}\r\n".encode() in server.requests[0]


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    server = Server(OK)
    async with serving(server) as address, connections() as session:
        for count in (1, 2):
            response, _ = await session.get(address, "/metrics", 10)
            assert response.body == b"ok"
            assert server.connections == count


async def test_a_server_that_closes_at_once_is_asked_once() -> None:
    server = Server(b"")
    async with serving(server) as address, connections() as session:
        with pytest.raises(AnswerError, match="closed without an answer"):
            await session.get(address, "/metrics", 10)
    assert server.connections == 1


async def test_after_an_answer_that_is_none_the_connection_is_not_used_again() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", OK)
    async with serving(server) as address, connections() as session:
        for _ in range(2):
            with pytest.raises(AnswerError, match="length is no number"):
                await session.get(address, "/metrics", 10)
    assert server.connections == 2


async def test_a_request_that_is_given_up_takes_its_connection_along() -> None:
    server = Server(b"", OK)
    async with serving(server) as address, connections() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.get(address, "/metrics", 10)
        # The server sees it: it waits for a second request.
        await server.ended.wait()


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    server = Server(OK, OK)
    now = 0.0
    async with serving(server) as address, connections(lambda: now) as session:
        await session.get(address, "/metrics", 10)
        now = IDLE - 1
        session.close_idle(IDLE)
        await session.get(address, "/metrics", 10)
        assert server.connections == 1
    server = Server(OK, OK)
    async with serving(server) as address, connections(lambda: now) as session:
        await session.get(address, "/metrics", 10)
        now += IDLE
        session.close_idle(IDLE)
        await server.ended.wait()
