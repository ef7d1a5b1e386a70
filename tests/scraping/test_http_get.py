"""GET over real sockets: whatever a server does, the next answer is the next request's."""

import asyncio
import socket
import threading
from contextlib import closing
from typing import Any

import pytest

from controlplane.config import Address
from controlplane.http_connection import DisconnectedError
from controlplane.scraping.scrape import IDLE, LATE, Getter, Receiver
from tests.processes import DEADLINE
from tests.scraping.says import (
    CHUNKED,
    HINTS,
    MOST,
    OK,
    Say,
    bodies,
    hang_up,
    in_pieces,
    ok,
    saying,
)


async def test_a_connection_is_kept_for_the_next_request(getter: Getter) -> None:
    async with saying(ok(b"one"), ok(b"two")) as server:
        assert await bodies(getter, server, 2) == [b"one", b"two"]
    assert server.connections == 1


async def test_what_is_asked_for_names_the_host_and_takes_nothing_compressed(
    getter: Getter,
) -> None:
    async with saying(ok(b"")) as server:
        await getter.get(server.address, "/metrics?für=a b", DEADLINE)
    lines = server.requests[0].split("\r\n")
    assert lines[0] == "GET /metrics?f%C3%BCr=a+b HTTP/1.1"
    assert f"Host: {server.address}" in lines
    assert "Accept-Encoding: identity" in lines


async def test_a_name_is_looked_up(getter: Getter) -> None:
    async with saying(ok(b"one")) as server:
        answer = await getter.get(Address("localhost", server.address.port), "/", DEADLINE)
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
        await getter.get(Address("localhost", server.address.port), "/", DEADLINE)


async def test_another_address_is_another_connection(getter: Getter) -> None:
    async with saying(ok(b"one")) as server, saying(ok(b"two")) as other:
        assert await bodies(getter, server, 1) == [b"one"]
        assert await bodies(getter, other, 1) == [b"two"]
        while not server.ended:
            await asyncio.sleep(0.01)


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
            await getter.get(server.address, "/", DEADLINE)
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


async def test_who_no_longer_waits_leaves_no_answer_to_the_next(getter: Getter) -> None:
    is_asked, late = asyncio.Event(), asyncio.Event()

    async def say_late(writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        await late.wait()
        writer.write(ok(b"late"))

    async with saying(say_late, ok(b"two")) as server:
        waiting = asyncio.create_task(getter.get(server.address, "/", DEADLINE))
        await is_asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        late.set()
        assert await bodies(getter, server, 1) == [b"two"]


@pytest.mark.parametrize("begins", [b"", ok(b"late")[:-2]], ids=["nothing", "a part"])
@pytest.mark.parametrize("before", [[], [ok(b"one")]], ids=["new", "kept"])
async def test_what_is_overdue_is_given_up_for_itself_alone(
    before: list[bytes], begins: bytes
) -> None:
    now = 0.0
    is_asked, may_end = asyncio.Event(), asyncio.Event()

    async def say_late(writer: asyncio.StreamWriter) -> None:
        writer.write(begins)
        is_asked.set()
        await may_end.wait()
        writer.write(ok(b"late")[len(begins) :])

    receiver = Receiver(lambda: now, MOST)
    with closing(Getter(receiver)) as getter, closing(Getter(receiver)) as patient:
        async with saying(*before, say_late, ok(b"two")) as server, saying(say_late) as other:
            await bodies(getter, server, len(before))
            late = asyncio.create_task(getter.get(server.address, "/", 2.0))
            waits = asyncio.create_task(patient.get(other.address, "/", 3.0))
            await is_asked.wait()
            while not late.done():
                assert now < 2.0 + 4 * LATE
                now += LATE
                await asyncio.sleep(LATE)
            with pytest.raises(TimeoutError):
                await late
            may_end.set()
            assert (await waits).body == b"late"
            assert await bodies(getter, server, 1) == [b"two"]
            assert server.connections == 2


async def test_while_we_stand_still_nobody_is_late() -> None:
    now = 0.0
    stood_still, may_end = asyncio.Event(), asyncio.Event()

    async def say_later(writer: asyncio.StreamWriter) -> None:
        nonlocal now
        now += 5.0
        stood_still.set()
        await may_end.wait()
        writer.write(ok(b"body"))

    receiver = Receiver(lambda: now, MOST)
    with closing(Getter(receiver)) as getter, closing(Getter(receiver)) as other:
        async with saying(say_later) as server, saying(ok(b"else")) as soon:
            asked = asyncio.create_task(getter.get(server.address, "/", 2.0))
            await stood_still.wait()
            # Whoever is asked now has all of its time.
            assert await bodies(other, soon, 1) == [b"else"]
            await asyncio.sleep(2 * LATE)
            may_end.set()
            assert (await asked).body == b"body"


async def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    now = 0.0
    with closing(Getter(Receiver(lambda: now, MOST))) as getter:
        async with saying(*[ok(b"body")] * 4) as server:
            for _ in range(3):
                await bodies(getter, server, 1)
                now += IDLE
            assert server.connections == 1
            now += 0.1
            await bodies(getter, server, 1)
            assert server.connections == 2
            while not server.ended:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "say",
    [
        ok(b"body").replace(b"\r\n", b"\n"),
        OK + CHUNKED + b"4 \r\nbody\r\n0\r\n\r\n",
        in_pieces(OK + b"Transfer-Encoding: identity\r\n\r\nbody", ends=True),
    ],
    ids=["LF", "chunk size", "identity"],
)
async def test_what_nobody_is_misled_by_is_read(getter: Getter, say: bytes | Say) -> None:
    async with saying(say) as server:
        assert await bodies(getter, server, 1) == [b"body"]


async def test_a_word_beforehand_is_no_part_of_the_answer(getter: Getter) -> None:
    early = b"HTTP/1.1 104 Early\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nearl"
    async with saying(early + ok(b"body")) as server:
        answer = await getter.get(server.address, "/", DEADLINE)
    assert answer.body == b"body"
    assert "content-encoding" not in answer.headers
