"""Clients that take too long, too much, or speak no HTTP: cut off, and nothing has changed."""

import asyncio
import json

import pytest

from controlplane.api import changes
from controlplane.api.server import Limits
from tests.api.served import POOL, Served, served
from tests.processes import DEADLINE

GARBAGE = {
    "random bytes": bytes(range(256)) * 8,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 512,
    "no version": b"PUT /v1/pools/m\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without a colon": b"GET /v1/pools HTTP/1.1\r\nHost localhost\r\n\r\n",
    "a folded header": b"GET /v1/pools HTTP/1.1\r\nHost: localhost\r\n x: y\r\n\r\n",
    "a header of 100 kB": b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "a path of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "two lengths": b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{}",
    "a negative length": b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: -1\r\n\r\n{}",
    "a length and chunks": b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk of no size": b"PUT /v1/pools/m HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
}


@pytest.mark.parametrize("what", GARBAGE)
async def test_what_is_no_http_is_refused_and_changes_nothing(what: str) -> None:
    async with served(limits=Limits(idle=0.5, body=0.5)) as api:
        await api.filled()
        before = api.plane.fleet
        async with asyncio.timeout(DEADLINE):
            answer = await api.raw(GARBAGE[what])
        if answer:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.split(b" ")[1].startswith(b"4")
            assert b"\r\nContent-Type: application/problem+json" in head
            document = json.loads(body)
            assert document["status"] == int(head.split(b" ")[1])
            assert document["detail"].isprintable()
            assert "b'" not in document["detail"], "the parser's quotes are not for a sentence"
        assert (api.plane.fleet, api.changes) == (before, 0)
        assert (await api.ask("GET", "/v1/pools")).status == 200


@pytest.mark.parametrize("path", ["/v1/pools/m", "/nothing", "/livez"])
async def test_an_expectation_that_nobody_meets_is_a_problem_too(path: str) -> None:
    async with served() as api:
        answer = await api.ask("GET", path, headers={"Expect": "the-impossible"})
        assert answer.status == 417
        assert answer.detail == "Expect may be 100-continue, or left out"


@pytest.mark.parametrize("sent", [b"", b"GET /v1/po", b"GET /v1/pools HTTP/1.1\r\nHost: local"])
async def test_headers_that_do_not_arrive_are_not_waited_for(sent: bytes) -> None:
    async with served(limits=Limits(idle=0.1)) as api:
        async with asyncio.timeout(DEADLINE):
            assert await api.raw(sent) == b""


async def test_headers_that_arrive_byte_by_byte_are_not_waited_for() -> None:
    async with served(limits=Limits(idle=0.3)) as api:
        reader, writer = await asyncio.open_connection(api.address.host, api.address.port)
        ended = asyncio.create_task(reader.read())
        async with asyncio.timeout(DEADLINE):
            while not ended.done():
                writer.write(b"a")
                await asyncio.sleep(0.02)
        assert b"200" not in await ended
        writer.close()


async def test_a_connection_that_asks_nothing_more_is_closed() -> None:
    async with served(limits=Limits(idle=0.1)) as api:
        async with asyncio.timeout(DEADLINE):
            answer = await api.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_one_connection_too_many_is_refused_and_one_less_makes_room() -> None:
    async with served(limits=Limits(connections=3)) as api:
        await api.ask("GET", "/docs")
        idle = [await asyncio.open_connection(api.address.host, api.address.port) for _ in "ab"]
        for _, writer in idle:
            writer.write(b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for reader, _ in idle:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        request = b"GET /docs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        refused = await api.raw(request)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections are open" in refused
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(DEADLINE):
            while not (await api.raw(request)).startswith(b"HTTP/1.1 200 "):
                await asyncio.sleep(0.01)


async def test_who_does_not_take_the_answer_is_cut_off() -> None:
    async with served(limits=Limits(answer=0.3, idle=600.0)) as api:
        await many(api, 1_000)
        reader, writer = await asyncio.open_connection(
            api.address.host, api.address.port, limit=1 << 10
        )
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        # Kernels keep some megabytes for who does not read.
        writer.write(b"GET /v1/pools/m/replicas HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        async with asyncio.timeout(DEADLINE):
            while api.connections < 2:
                await asyncio.sleep(0.01)
            while api.connections > 1:
                await asyncio.sleep(0.05)
        assert (await api.ask("GET", "/livez")).status == 200
        writer.transport.abort()
        del reader


async def test_no_more_pools_and_replicas_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "MAX_POOLS", 1)
    monkeypatch.setattr(changes, "MAX_REPLICAS", 3)
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        listener = {"address": "127.0.0.1:1"}
        too_many = await api.ask("PUT", "/v1/pools/n", json=POOL | {"listener": listener})
        assert (too_many.status, "1 pools already" in too_many.detail) == (409, True)
        two = [{"id": id_, "address": f"127.0.0.1:{port}"} for id_, port in (("c", 1), ("d", 2))]
        batch = await api.ask("PUT", "/v1/pools/m/replicas", json={"replicas": two})
        assert (batch.status, "more than 3 replicas" in batch.detail) == (409, True)
        assert api.plane.fleet is before
        assert (await api.ask("PUT", "/v1/pools/m", json=POOL | {"model": "x"})).status == 200
        one = {"address": "127.0.0.1:1"}
        assert (await api.ask("PUT", "/v1/pools/m/replicas/c", json=one)).status == 201
        assert (await api.ask("PUT", "/v1/pools/m/replicas/d", json=two[1])).status == 409
        assert (await api.ask("PUT", "/v1/pools/m/replicas/c", json=one)).status == 200


async def test_where_there_is_no_room_left_what_is_there_can_be_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as api:
        await api.filled()
        # As the config file and sources may declare more than there is room for.
        monkeypatch.setattr(changes, "MAX_REPLICAS", 1)
        body = {"address": "127.0.0.1:9001", "slots": 3}
        assert (await api.ask("PUT", "/v1/pools/m/replicas/a", json=body)).status == 200
        body = {"address": "127.0.0.1:9003"}
        assert (await api.ask("PUT", "/v1/pools/m/replicas/c", json=body)).status == 409


async def test_an_address_in_no_allowed_network_is_refused() -> None:
    async with served(networks=("10.0.0.0/8",)) as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        before = api.plane.fleet
        elsewhere = {"address": "[::ffff:11.0.0.1]:80"}
        answer = await api.ask("PUT", "/v1/pools/m/replicas/a", json=elsewhere)
        assert (answer.status, answer.body["pointer"]) == (422, "/address")
        both = [{"id": "a", "address": "10.0.0.1:80"}, {"id": "b", **elsewhere}]
        answer = await api.ask("PUT", "/v1/pools/m/replicas", json={"replicas": both})
        assert (answer.status, answer.body["pointer"]) == (422, "/replicas/1/address")
        metrics = {"gpu": {"addresses": ["11.0.0.1:9400"]}}
        answer = await api.ask("PUT", "/v1/pools/m", json=POOL | {"metrics": metrics})
        assert (answer.status, answer.body["pointer"]) == (422, "/metrics/gpu/addresses/0")
        for path in ("/v1/pools/m/replicas/a?dry_run=true",):
            assert (await api.ask("PUT", path, json=elsewhere)).status == 422
        assert api.plane.fleet is before
        inside = {"address": "[::ffff:10.0.0.1]:80"}
        taken = await api.ask("PUT", "/v1/pools/m/replicas/a", json=inside)
        assert (taken.status, taken.body["address"]) == (201, "10.0.0.1:80")


async def many(api: Served, count: int) -> None:
    await api.ask("PUT", "/v1/pools/m", json=POOL)
    replicas = [{"id": f"r{i}", "address": f"127.0.0.1:{i + 1}"} for i in range(count)]
    await api.ask("PUT", "/v1/pools/m/replicas", json={"replicas": replicas})
