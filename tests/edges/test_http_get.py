"""GET over real sockets: whatever a server does, the next answer is the next request's."""

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from controlplane.edges.http_get import (
    MAX_HEAD,
    AnswerError,
    DisconnectedError,
    Getter,
    Receiver,
    TooLongError,
)
from controlplane.settings import Address
from tests.processes import DEADLINE

MOST = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers each request with what comes next, on however many connections.

    Attributes:
        requests: That came, as they were.
        connections: That were opened.
        ended: Those that the other side has closed.
    """

    says: list[bytes | Say]
    address: Address = Address("127.0.0.1", 0)  # noqa: RUF009 - it cannot be changed
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    ended: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                say = self.says.pop(0)
                if isinstance(say, bytes):
                    writer.write(say)
                else:
                    await say(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended += 1
        finally:
            writer.close()


@asynccontextmanager
async def saying(*says: bytes | Say) -> AsyncIterator[Server]:
    here = Server([*says])
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    async with server, asyncio.timeout(DEADLINE):
        yield here


@pytest.fixture
async def getter() -> AsyncIterator[Getter]:
    with closing(Getter(Receiver(time.monotonic, MOST))) as it:
        yield it


def ok(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers))
    return head.encode() + b"\r\n\r\n" + body


def in_pieces(*pieces: bytes, ends: bool = False) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if ends:
            writer.close()

    return say


async def bodies(getter: Getter, server: Server, count: int) -> Sequence[bytes]:
    return [(await getter.get(server.address, "/metrics")).body for _ in range(count)]


async def test_a_connection_is_kept_for_the_next_request(getter: Getter) -> None:
    async with saying(ok(b"one"), ok(b"two")) as server:
        assert await bodies(getter, server, 2) == [b"one", b"two"]
    assert server.connections == 1


async def test_what_is_asked_for_names_the_host_and_takes_nothing_compressed(
    getter: Getter,
) -> None:
    async with saying(ok(b"")) as server:
        await getter.get(server.address, "/metrics?für=a b")
    lines = server.requests[0].split("\r\n")
    assert lines[0] == "GET /metrics?f%C3%BCr=a+b HTTP/1.1"
    assert f"Host: {server.address}" in lines
    assert "Accept-Encoding: identity" in lines


async def test_a_name_is_looked_up(getter: Getter) -> None:
    async with saying(ok(b"one")) as server:
        answer = await getter.get(Address("localhost", server.address.port), "/")
    assert answer.body == b"one"


async def test_a_name_is_not_looked_up_where_everything_else_would_wait(
    getter: Getter, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, look_up = threading.get_ident(), socket.getaddrinfo

    def looked_up(*where: Any, **more: Any) -> Any:
        assert threading.get_ident() != here or more["flags"] & socket.AI_NUMERICHOST
        return look_up(*where, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    async with saying(ok(b"one")) as server:
        await getter.get(Address("localhost", server.address.port), "/")


async def test_another_address_is_another_connection(getter: Getter) -> None:
    async with saying(ok(b"one")) as server, saying(ok(b"two")) as other:
        assert await bodies(getter, server, 1) == [b"one"]
        assert await bodies(getter, other, 1) == [b"two"]
        while not server.ended:
            await asyncio.sleep(0.01)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_a_connection_that_was_closed_while_idle_is_made_anew(getter: Getter) -> None:
    async with saying(in_pieces(ok(b"one"), ends=True), ok(b"two")) as server:
        assert await bodies(getter, server, 1) == [b"one"]
        while not server.ended:
            await asyncio.sleep(0.01)
        assert await bodies(getter, server, 1) == [b"two"]


async def test_a_request_that_meets_the_end_of_an_idle_connection_is_sent_again(
    getter: Getter,
) -> None:
    async with saying(ok(b"one"), hang_up, ok(b"two")) as server:
        assert await bodies(getter, server, 2) == [b"one", b"two"]
    assert server.connections == 2


async def test_who_hangs_up_on_a_new_connection_is_not_asked_again(getter: Getter) -> None:
    async with saying(hang_up, ok(b"never")) as server:
        with pytest.raises(DisconnectedError):
            await getter.get(server.address, "/")
    assert server.connections == 1


@pytest.mark.parametrize(
    ("say", "connections"),
    [
        (ok(b"body"), 1),
        (in_pieces(OK + b"Content-", b"Length: 4\r\n\r\nbo", b"dy"), 1),
        (OK + CHUNKED + b"2\r\nbo\r\n2;x\r\ndy\r\n0\r\n\r\n", 1),
        (
            HINTS + ok(b"body"),
            1,
        ),
        (ok(b"body", "Connection: close"), 2),
        (ok(b"body").replace(b"1.1", b"1.0"), 2),
        (in_pieces(OK + b"\r\nbo", b"dy", ends=True), 2),
    ],
    ids=["whole", "pieces", "chunks", "1xx", "close", "1.0", "no length"],
)
async def test_an_answer_ends_where_it_says_and_the_next_is_its_own(
    getter: Getter, say: bytes | Say, connections: int
) -> None:
    async with saying(say, ok(b"next")) as server:
        assert await bodies(getter, server, 2) == [b"body", b"next"]
    assert server.connections == connections


@pytest.mark.parametrize("more", [ok(b"forged"), OK + b"Content-Length: 9\r\n\r\n", b"x"])
async def test_what_nobody_has_asked_for_is_nobodys_answer(getter: Getter, more: bytes) -> None:
    async with saying(ok(b"one") + more, ok(b"two")) as server:
        assert await bodies(getter, server, 2) == [b"one", b"two"]
    assert server.connections == 2


async def test_what_comes_later_unasked_closes_the_connection(getter: Getter) -> None:
    async with saying(in_pieces(ok(b"one"), ok(b"forged")), ok(b"two")) as server:
        assert await bodies(getter, server, 1) == [b"one"]
        while not server.ended:
            await asyncio.sleep(0.01)
        assert await bodies(getter, server, 1) == [b"two"]


async def test_who_no_longer_waits_leaves_no_answer_to_the_next(getter: Getter) -> None:
    late = asyncio.Event()

    async def say_late(writer: asyncio.StreamWriter) -> None:
        await late.wait()
        writer.write(ok(b"late"))

    async with saying(say_late, ok(b"two")) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await getter.get(server.address, "/")
        late.set()
        assert await bodies(getter, server, 1) == [b"two"]


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Oh\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def test_of_an_answer_that_is_none_the_body_is_not_awaited(getter: Getter) -> None:
    async with saying(endless, ok(b"two")) as server:
        answer = await getter.get(server.address, "/")
        assert (answer.status, answer.body) == (500, b"")
        assert await bodies(getter, server, 1) == [b"two"]


@pytest.mark.parametrize(
    ("say", "problem"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "this is no HTTP answer"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", "no HTTP answer"),
        (OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "answers 101"),
        (in_pieces(OK + b"Content-Length: 9\r\n\r\nbo", ends=True), "before the answer"),
        (in_pieces(OK, ends=True), "before the answer was whole"),
        (in_pieces(OK + CHUNKED + b"4\r\nbody\r\n", ends=True), "before the answer was whole"),
        (in_pieces(HINTS, OK + b"X: ", *[b"x" * MAX_HEAD] * 2), "its headers are longer"),
        (OK + b"A: b\r\n" * MAX_HEAD + b"\r\n", "its headers are longer"),
        (in_pieces(*[OK + b"X: "], *[b"x" * MAX_HEAD] * 2), "its headers are longer"),
    ],
)
async def test_what_is_no_answer_is_said_to_be_none_and_its_connection_is_closed(
    getter: Getter, say: bytes | Say, problem: str
) -> None:
    async with saying(say, ok(b"two")) as server:
        with pytest.raises(AnswerError, match=problem):
            await getter.get(server.address, "/")
        assert await bodies(getter, server, 1) == [b"two"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_only_so_long(getter: Getter, *, chunked: bool) -> None:
    piece = b"x" * 65_536

    async def too_much(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        if chunked:
            writer.write(b"Transfer-Encoding: chunked\r\n")
        writer.write(b"\r\n")
        while True:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()

    async with saying(ok(b"x" * MOST), too_much, ok(b"two")) as server:
        assert [len(it) for it in await bodies(getter, server, 1)] == [MOST]
        with pytest.raises(TooLongError, match="is longer than 1 MiB"):
            await getter.get(server.address, "/")
        assert await bodies(getter, server, 1) == [b"two"]


async def test_a_body_is_gone_with_its_answer_and_not_when_the_next_one_comes(
    getter: Getter,
) -> None:
    async with saying(ok(b""), ok(b"x" * MOST)) as server:
        await getter.get(server.address, "/")
        tracemalloc.start()
        try:
            answer = await getter.get(server.address, "/")
            assert tracemalloc.get_traced_memory()[0] > MOST
            server.says.clear()
            del answer
            await asyncio.sleep(0.01)
            assert tracemalloc.get_traced_memory()[0] < MOST / 2
        finally:
            tracemalloc.stop()
