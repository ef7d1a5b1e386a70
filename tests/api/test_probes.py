"""Probes are answered whatever the event loop and other connections do."""

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest

from controlplane.api import probes
from controlplane.api.server import Limits
from tests.api.served import Served, served
from tests.processes import DEADLINE


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served(limits=Limits(connections=4)) as found:
        yield found


def probe(api: Served, path: str = "/livez", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(api.address.host, api.address.port, timeout=DEADLINE)
    connection.request(method, path, headers={"Host": "probe.example"})
    response = connection.getresponse()
    found = response.status, response.read().decode().strip()
    connection.close()
    return found


async def test_probes_say_what_the_api_says(api: Served) -> None:
    assert await asyncio.to_thread(probe, api) == (200, '{"live": true}')
    assert await asyncio.to_thread(probe, api, "/readyz") == (200, '{"ready": true}')
    api.is_ready = False
    assert await asyncio.to_thread(probe, api, "/readyz") == (503, '{"ready": false}')
    assert await asyncio.to_thread(probe, api, "/readyz", "HEAD") == (503, "")
    assert (await asyncio.to_thread(probe, api, "/livezz"))[0] == 403, "its Host is not local"


async def test_probes_are_answered_while_the_event_loop_stands_still(api: Served) -> None:
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        answers.extend(probe(api, path) for path in ("/livez", "/readyz"))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(DEADLINE)  # It is this thread that the event loop runs in.
    assert answers == [(200, '{"live": true}'), (200, '{"ready": true}')]


async def test_an_event_loop_that_stands_still_for_long_is_said_to(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "BEAT", 0.001)
    await asyncio.sleep(1.0)  # The beat that was under way.
    answers: list[int] = []

    def ask() -> None:
        deadline = time.monotonic() + DEADLINE
        while 503 not in answers and time.monotonic() < deadline:
            answers.append(probe(api)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    assert answers[-1] == 503
    async with asyncio.timeout(DEADLINE):
        while (await asyncio.to_thread(probe, api))[0] != 200:
            await asyncio.sleep(0.01)


async def test_connections_that_say_nothing_take_no_place_and_make_room(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "MAX_SILENT", 20)
    silent = [socket.create_connection((api.address.host, api.address.port)) for _ in range(50)]
    for each in silent[1::2]:
        each.send(b"GET /li")
    assert await asyncio.to_thread(probe, api) == (200, '{"live": true}')
    assert (await api.ask("GET", "/v1/pools")).status == 200
    silent[0].settimeout(DEADLINE)
    assert await asyncio.to_thread(silent[0].recv, 1) == b"", "the oldest has made room"
    for each in silent:
        each.close()


async def test_slow_requests_keep_no_probe_out(api: Served) -> None:
    slow = [socket.create_connection((api.address.host, api.address.port)) for _ in range(8)]
    for each in slow:
        each.send(b"GET /v1/pools HTTP/1.1\r\nHost: lo")
    request = b"GET /v1/pools HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(DEADLINE):
        while b"too many connections are open" not in await api.raw(request):
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(probe, api) == (200, '{"live": true}')
    for each in slow:
        each.close()


async def test_a_probe_that_comes_in_pieces_is_answered(api: Served) -> None:
    def ask() -> bytes:
        with socket.create_connection((api.address.host, api.address.port)) as probing:
            for piece in (b"GET /l", b"ivez HT", b"TP/1.1\r\nHost: x", b"\r\n\r\n"):
                probing.send(piece)
                time.sleep(0.03)
            return probing.recv(1000)

    assert (await asyncio.to_thread(ask)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Host: a\r\nHost: b\r\n", b"400"),
        (b"Host: a\r\nhost: a\r\n", b"400"),
        (b"", b"400"),
        (b"Host: a\r\nno colon\r\n", b"400"),
        (b"Host: a\r\n folded: yes\r\n", b"400"),
        (b"Host : a\r\n", b"400"),
        (b"Host: a\r\nContent-Length: -1\r\n", b"400"),
        (b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Host: a\r\nX: " + b"x" * 9_000 + b"\r\n", b"400"),
        (b"Host: a\r\nExpect: x\r\n", b"417"),
        (b"Host: a\r\nContent-Length: 0\r\nConnection: close\r\n", b"200"),
        (b"Host: a\r\nUser-Agent: kube-probe/1.31\r\nAccept: */*\r\n", b"200"),
    ],
)
async def test_a_probe_is_read_as_strictly_as_any_request(
    api: Served, headers: bytes, status: bytes
) -> None:
    for path in (b"/livez", b"/readyz"):
        answer = await api.raw(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, headers))
        assert answer.split(b" ")[1] == status
