"""GET from a server that means no good: it costs little, and the next answer is its own."""

import asyncio
import gc
import tracemalloc
from contextlib import suppress

import pytest

from controlplane.http_connection import (
    MAX_HEAD,
    AnswerError,
    Connection,
    TooLongError,
)
from controlplane.scraping.scrape import Getter
from tests.processes import DEADLINE
from tests.scraping.says import CHUNKED, HINTS, MOST, OK, Say, bodies, in_pieces, ok, saying


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


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Oh\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def test_of_an_answer_that_is_none_the_body_is_not_awaited(getter: Getter) -> None:
    async with saying(endless, ok(b"two")) as server:
        answer = await getter.get(server.address, "/", DEADLINE)
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
            await getter.get(server.address, "/", DEADLINE)
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
        assert [len(body) for body in await bodies(getter, server, 1)] == [MOST]
        with pytest.raises(TooLongError, match="is longer than 1048576 bytes"):
            await getter.get(server.address, "/", DEADLINE)
        assert await bodies(getter, server, 1) == [b"two"]


async def test_a_body_is_gone_with_its_answer_and_not_when_the_next_one_comes(
    getter: Getter,
) -> None:
    async with saying(ok(b""), ok(b"x" * MOST)) as server:
        await getter.get(server.address, "/", DEADLINE)
        tracemalloc.start()
        try:
            answer = await getter.get(server.address, "/", DEADLINE)
            assert tracemalloc.get_traced_memory()[0] > MOST
            server.says.clear()
            del answer
            await asyncio.sleep(0.01)
            assert tracemalloc.get_traced_memory()[0] < MOST / 2
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("unasked", [b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n"])
async def test_whatever_comes_between_requests_closes_the_connection(
    getter: Getter, unasked: bytes
) -> None:
    async with saying(in_pieces(ok(b"one"), unasked, unasked), ok(b"two")) as server:
        assert await bodies(getter, server, 1) == [b"one"]
        while not server.ended:
            await asyncio.sleep(0.01)
        assert await bodies(getter, server, 1) == [b"two"]


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (OK + CHUNKED + b"0\r\nX: ", b"x"),
        (OK + CHUNKED + b"1;", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["trailer", "chunk extension", "1xx"],
)
async def test_what_is_no_body_ends_as_well(getter: Getter, begin: bytes, more: bytes) -> None:
    sent = 0

    async def say(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(begin)
        while True:
            writer.write(more * 1_000)
            sent += len(more) * 1_000
            await writer.drain()

    async with saying(say, ok(b"two")) as server:
        with pytest.raises(AnswerError, match="its headers are longer"):
            await getter.get(server.address, "/", DEADLINE)
        assert sent < 64 * MAX_HEAD + MOST * 8
        assert await bodies(getter, server, 1) == [b"two"]


@pytest.mark.parametrize("chunks", [300_000, 400_000])
async def test_a_body_in_tiny_chunks_is_no_larger_than_it_is(getter: Getter, chunks: int) -> None:
    async with saying(OK + CHUNKED + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n") as server:
        tracemalloc.start()
        try:
            if chunks * 6 > 2 * MOST + MAX_HEAD:
                with pytest.raises(TooLongError):
                    await getter.get(server.address, "/", DEADLINE)
            else:
                assert await bodies(getter, server, 1) == [b"x" * chunks]
            assert tracemalloc.get_traced_memory()[1] < 8 * MOST
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "say",
    [
        in_pieces(OK + b"Content-Length: 900000\r\n\r\n" + b"x" * 800_000, ends=True),
        b"HTTP/1.1 503 Busy\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
        OK + CHUNKED + b"4\r\nbody\r\nnonsense",
    ],
    ids=["cut short", "unavailable", "nonsense"],
)
async def test_of_an_answer_that_failed_nothing_waits_for_the_garbage_collector(
    getter: Getter, say: bytes | Say
) -> None:
    gc.collect()
    gc.disable()
    try:
        async with saying(*[say] * 5) as server:
            for _ in range(5):
                with suppress(AnswerError):
                    await getter.get(server.address, "/", DEADLINE)
            await asyncio.sleep(0.01)
        alive = [item for item in gc.get_objects() if isinstance(item, Connection)]
        assert len(alive) <= 1
    finally:
        gc.enable()
