"""What real ingresses give to clients that should get nothing, whatever they show and ask for."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from controlplane.config import Address
from controlplane.scraping.probe import Http2Error, ask
from tests.certificates import DOMAIN, Authority
from tests.certificates import node as node_id
from tests.envoy.mesh import POOL, Mesh, client_context, install, meshed, pool_id, serves
from tests.envoy.test_listener_tls import established
from tests.processes import DEADLINE, until

SERVER = b"aiohttp"
"""Replicas name it in their answers, and Envoy does not in its own."""

CONNECT = "CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}"
REQUESTS = {
    "a request": "POST /v1/embeddings HTTP/1.1\r\nhost: p\r\ncontent-length: 0",
    "health": "GET /health HTTP/1.1\r\nhost: p",
    "metrics": "GET /metrics HTTP/1.1\r\nhost: p",
    "empty segments": "GET //health HTTP/1.1\r\nhost: p",
    "dots": "GET /v1/../health HTTP/1.1\r\nhost: p",
    "escapes": "GET /%68ealth HTTP/1.1\r\nhost: p",
    "a whole URL": "GET http://p/health HTTP/1.1\r\nhost: p",
    "all of the server": "OPTIONS * HTTP/1.1\r\nhost: p",
    "another host": "GET /health HTTP/1.1\r\nhost: egress",
    "the old version": "GET /health HTTP/1.0\r\nhost: p",
    "a tunnel": CONNECT,
    "a websocket": "GET /health HTTP/1.1\r\nhost: p\r\n"
    "connection: upgrade\r\nupgrade: websocket\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    "another protocol": "GET /health HTTP/1.1\r\nhost: p\r\nconnection: upgrade, http2-settings\r\n"
    "upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA",
    "the name of another": "GET /health HTTP/1.1\r\nhost: p\r\n"
    f"x-forwarded-client-cert: URI={node_id('egress')}",
    "a further try": "GET /health HTTP/1.1\r\nhost: p\r\nx-envoy-attempt-count: 2",
    "another path beside": "GET /health HTTP/1.1\r\nhost: p\r\nx-envoy-original-path: /health",
}
PLAIN_ONES = ("a request", "health", "metrics", "another host", "a further try")
"""That reach the replica of a client that may."""

STREAMS = {
    "a request": {":method": "POST", ":path": "/v1/embeddings"},
    "a tunnel": {":method": "CONNECT"},
    "a websocket": {":method": "CONNECT", ":path": "/health", ":protocol": "websocket"},
}


async def answer(mesh: Mesh, request: str, context: ssl.SSLContext, sni: str = "p") -> bytes:
    """What an ingress answers to a request over HTTP/1."""
    port = mesh.ports[0]
    try:
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=sni
            )
            head = request.format(port=mesh.replicas[0].port)
            writer.write(f"{head}\r\n\r\n".encode())
            try:
                return await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                return error.partial
            finally:
                writer.transport.abort()
    except OSError:
        return b""


async def answer_over_http2(mesh: Mesh, headers: dict[str, str], context: ssl.SSLContext) -> str:
    """The server that answers over HTTP/2, or why none does."""
    whole = {":scheme": "https", ":authority": f"127.0.0.1:{mesh.replicas[0].port}", **headers}
    if ":path" not in headers:
        del whole[":scheme"]
    try:
        found = await ask(Address("127.0.0.1", mesh.ports[0]), whole, context=context)
    except (OSError, Http2Error) as error:
        return str(error)
    return found.headers.get("server", found.headers[":status"])


async def test_whoever_may_not_use_a_pool_gets_nothing_by_any_request(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict", clients=["egress"]) as mesh:
        await serves(mesh.egress, mesh.replicas)
        roots = tmp_path / "egress-certs"
        install(mesh.authority, tmp_path / "other", node_id("egress-2"))
        allowed, other = (client_context(roots, each) for each in (roots, tmp_path / "other"))
        for name in PLAIN_ONES:
            assert SERVER in await answer(mesh, REQUESTS[name], allowed), name
        served = mesh.replicas[0].served
        for name, request in REQUESTS.items():
            said = await answer(mesh, request, other)
            assert said.startswith(b"HTTP/1.1 4"), (name, said)
            assert SERVER not in said, name
        for sni in ("q", "egress", f"{POOL}.plimsoll.local"):
            assert b" 403 " in await answer(mesh, REQUESTS["health"], other, sni)
        for each in (allowed, other):
            each.set_alpn_protocols(["h2"])
        assert SERVER.decode() in await answer_over_http2(mesh, STREAMS["a request"], allowed)
        for name, headers in STREAMS.items():
            assert SERVER.decode() not in await answer_over_http2(mesh, headers, other), name
        assert mesh.replicas[0].served == served + 1


async def test_a_strict_ingress_gives_nothing_to_clients_without_the_right_certificate(
    tmp_path: Path,
) -> None:
    async with meshed(tmp_path, "strict") as mesh:
        await serves(mesh.egress, mesh.replicas)
        served, roots = mesh.replicas[0].served, tmp_path / "egress-certs"
        for name, authority, uris, when in (
            ("expired", mesh.authority, [node_id("late")], {"ends": -1.0}),
            ("early", mesh.authority, [node_id("early")], {"begins": 3_600.0}),
            ("foreign", Authority(), [node_id("egress")], {}),
            ("nameless", mesh.authority, [], {"common_name": node_id("egress")}),
            ("of-the-web", mesh.authority, ["https://plimsoll.local/node/egress"], {}),
        ):
            authority.leaf(uris, **when).write(tmp_path / name, "leaf")
            assert await mesh.direct(client_context(roots, tmp_path / name)) == 0, name
        for name, uri in (
            ("of-a-pool", pool_id(POOL)),
            ("of-the-control-plane", f"spiffe://{DOMAIN}/control-plane"),
            ("of-another-domain", f"spiffe://{DOMAIN}.test/node/egress"),
            ("of-a-folder", f"spiffe://{DOMAIN}/x/node/egress"),
        ):
            mesh.authority.leaf([uri]).write(tmp_path / name, "leaf")
            assert await mesh.direct(client_context(roots, tmp_path / name)) == 403, name
        assert await mesh.direct(None) == 0
        assert await mesh.direct(client_context(roots)) == 0
        assert mesh.replicas[0].served == served
        assert await mesh.direct(client_context(roots, roots)) == 200
        # As those have that the control plane issues for a node beside a replica.
        mesh.authority.leaf([pool_id(POOL), node_id("gpu-1")]).write(tmp_path / "both", "leaf")
        assert await mesh.direct(client_context(roots, tmp_path / "both")) == 200


async def test_a_client_whose_certificate_has_expired_resumes_no_session_of_an_ingress(
    tmp_path: Path,
) -> None:
    async with meshed(tmp_path, "strict") as mesh:
        await serves(mesh.egress, mesh.replicas)
        ends = time.monotonic() + 20
        mesh.authority.node("short", ends=20).write(tmp_path / "short", "leaf")
        context = client_context(tmp_path / "egress-certs", tmp_path / "short")
        session = await asyncio.to_thread(established, mesh.ports[0], context, None)

        async def has_expired() -> bool:
            return time.monotonic() > ends + 1

        await until("the certificate has expired", has_expired)
        with pytest.raises((OSError, AssertionError)):
            await asyncio.to_thread(established, mesh.ports[0], context, session)


async def test_an_envoy_with_the_certificate_of_another_node_is_that_node(tmp_path: Path) -> None:
    async with meshed(tmp_path, "strict", clients=["egress"]) as mesh:
        await serves(mesh.egress, mesh.replicas)
        for name, status in (("other", 403), ("egress", 200)):
            install(mesh.authority, tmp_path / "egress-certs", node_id(name))

            async def answers(status: int = status) -> bool:
                return await mesh.egress.post(POOL) == status

            await until(f"{name} gets {status}", answers)


@pytest.mark.parametrize("mode", ["off", "permissive"])
async def test_a_client_in_plain_text_cannot_say_who_it_is(tmp_path: Path, mode: str) -> None:
    async with meshed(tmp_path, mode) as mesh:
        await serves(mesh.egress, mesh.replicas)
        request = REQUESTS["a request"] + f"\r\nx-forwarded-client-cert: URI={node_id('egress')}"
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.ports[0])
        writer.write(f"{request}\r\n\r\n".encode())
        assert SERVER in await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        assert "x-forwarded-client-cert" not in mesh.replicas[0].headers
