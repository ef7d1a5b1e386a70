"""What a real Envoy lets clients do: how long they may take, what they may ask for, and its log."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.envoy.pools import pool_of, running
from tests.processes import Envoy, free_port, serving, sidecar, until
from tests.replica import FakeReplica, replica


@asynccontextmanager
async def gateway(
    folder: Path, **options: Any
) -> AsyncIterator[tuple[str, Envoy, FakeReplica, aiohttp.ClientSession]]:
    """A gateway to a pool `p` with the prefix ``/v1``; where it is, and a client."""
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(replica())
        plane = await stack.enter_async_context(
            serving(folder, [pool_of("p", only, route={"prefix": "/v1"})])
        )
        address = Address("127.0.0.1", free_port())
        data = bootstrap("gateway", plane.xds, admin_port=free_port(), gateway=address, **options)
        envoy = await stack.enter_async_context(running(folder, data, address.port, "all"))
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))

        async def is_there() -> bool:
            return (await envoy.post("all", path="/p/v1/embeddings")) == 200

        await until("the gateway serves", is_there)
        yield f"http://{address}", envoy, only, session


OUTSIDE = [
    "/p/admin/unload",
    "/p/v1/../admin/unload",
    "/p/v1/%2e%2e/admin/unload",
    "/p/v1/x/../../admin/unload",
    "/p/v1/..%2fadmin/unload",
    "/p/v1/..%5cadmin/unload",
    "/p/v1\\..\\admin\\unload",
    "//p//v1/../admin//unload",
    "/p%2fadmin%2funload",
    "/admin/unload",
    "/p/v1admin/unload",
    "/p/v1%61dmin/unload",
    "/p/v1.1/embeddings",
    "/p/v1;/../admin",
    "/pv1/embeddings",
]


async def test_no_spelling_of_a_path_leads_past_the_prefix_of_a_pool(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (where, _, only, session):

        async def ask(path: str, **headers: str) -> int:
            url = URL(where + path, encoded=True)
            async with session.post(url, json={"input": "a"}, headers=headers) as response:
                return response.status

        for path in OUTSIDE:
            assert await ask(path) in (400, 404), path
        for path in OUTSIDE:
            inner = path.replace("/p/", "/", 1)
            assert await ask(inner, **{"x-plimsoll-pool": "p"}) in (400, 404), path
        assert await ask("/p//v1//embeddings") == 200
        assert only.paths == {"/v1/embeddings"}
        # The replica has nothing there, but it is asked.
        for path in ("/v1", "/v1/", "/v1?a=/../b", "/v1/models/m:predict", "/v1:predict"):
            assert await ask(f"/p{path}") == 404
            assert path in only.paths
            assert await ask(path, **{"x-plimsoll-pool": "p"}) == 404


async def test_a_gateway_believes_no_client_and_writes_down_what_it_did(tmp_path: Path) -> None:
    async with gateway(tmp_path, log="json") as (where, _, only, session):
        sent = {"x-forwarded-for": "10.1.2.3", "x-envoy-max-retries": "9", "x-request-id": "mine"}
        url = f"{where}/p/v1/embeddings"
        async with session.post(url, json={"input": "a"}, headers=sent) as response:
            assert (response.status, response.headers["server"]) == (200, "envoy")
        # Envoy writes down an address of its machine where a client is on loopback.
        forwarded = only.headers["x-forwarded-for"]
        assert forwarded.startswith("10.1.2.3,")
        assert only.headers["x-request-id"] != "mine"
        assert "x-envoy-max-retries" not in only.headers
        async with session.post(url, json={"input": "a"}, headers={"x_user": "a"}) as response:
            assert response.status == 400

        async def are_written() -> list[dict[str, Any]]:
            return [item for item in logged(tmp_path) if item["forwarded_for"] == forwarded]

        await until("its log has the request", are_written)
        (line,) = await are_written()
        assert line["request_id"] == only.headers["x-request-id"]
        assert (line["path"], line["status"]) == ("/p/v1/embeddings", 200)
        assert (line["upstream"], line["cluster"], line["attempts"]) == (only.address, "p", 1)
        assert (line["client"], line["flags"]) == ("127.0.0.1", "-")
        assert line["duration_ms"] >= 0


async def test_the_last_proxy_says_who_the_client_is_where_it_is_trusted(tmp_path: Path) -> None:
    options: dict[str, Any] = {"log": "text", "trusted_proxies": 1}
    async with gateway(tmp_path, **options) as (_, envoy, _, _):
        sent = {"x-forwarded-for": "10.9.9.9, 10.1.2.3"}
        assert await envoy.post("all", headers=sent, path="/p/v1/embeddings") == 200

        async def is_written() -> bool:
            return " client=10.1.2.3 " in (tmp_path / "envoy.log").read_text()

        await until("its log names the client", is_written)


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of a gateway's log."""
    lines = (folder / "envoy.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


async def test_connections_over_the_limit_are_closed(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_connections=2) as (where, envoy, _, _):
        port = URL(where).port
        # The client that waited for the gateway keeps one.
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in held]

        async def are_two_closed() -> bool:
            return sum(item.done() for item in ended) == 2

        await until("two of four connections are closed", are_two_closed)
        assert await envoy.admin("/listeners?format=json") is not None
        for _, writer in held:
            writer.close()
        await asyncio.gather(*ended)


async def test_an_upload_that_trickles_is_ended(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(replica())
        declared = pool_of("p", only, route={"timeout": "1s"})
        plane = await stack.enter_async_context(serving(tmp_path, [declared]))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"]))

        async def is_served() -> bool:
            return await envoy.post("p") == 200

        await until("it is served", is_served)
        reader, writer = await asyncio.open_connection("127.0.0.1", envoy.listeners["p"])
        head = "POST /v1/embeddings HTTP/1.1\r\nhost: p\r\ncontent-length: 100000\r\n\r\n"
        writer.write(head.encode())
        answer = asyncio.create_task(reader.readline())

        async def is_ended() -> bool:
            writer.write(b"x")
            return answer.done()

        await until("it is ended while bytes still come", is_ended)
        assert (await answer).split()[1] == b"408"
        writer.close()
