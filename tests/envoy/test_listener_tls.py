"""Listeners and gateways that terminate TLS, with files that are replaced while requests come."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import trustme
from cryptography.x509 import load_pem_x509_certificate

from controlplane.config import Address, validated
from controlplane.config.tls import GatewayTls
from controlplane.resources.bootstrap import Protocol, bootstrap
from controlplane.scraping.probe import ask
from tests.authority import Files, client_context, serial_of
from tests.envoy.pools import pool_of, running
from tests.processes import DEADLINE, Envoy, free_port, serving, sidecar, until
from tests.replica import FakeReplica, replica

NAME = "embed.test"


async def answered(port: int, context: ssl.SSLContext, name: str = NAME, path: str = "/") -> int:
    """The status of a request over a new connection; 0 where there is no answer."""
    url = f"https://127.0.0.1:{port}{path}v1/embeddings"
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.post(url, json={"input": "a"}, ssl=context, server_hostname=name) as response,
        ):
            return response.status
    except (aiohttp.ClientError, OSError):
        return 0


async def served_serial(port: int, context: ssl.SSLContext, name: str = NAME) -> int:
    """The serial number of the certificate that a client gets that asks for a name."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return serial_of(ssl.DER_cert_to_PEM_cert(shown).encode())


@asynccontextmanager
async def listening(
    folder: Path, tls: dict[str, str], protocol: Protocol = "delta"
) -> AsyncIterator[tuple[Envoy, FakeReplica]]:
    """A sidecar whose listener terminates TLS, and the replica behind it."""
    async with replica() as one:
        entry = pool_of("p", one, metrics={"profile": "none"})
        entry["listener"]["tls"] = tls
        async with (
            serving(folder, [entry]) as plane,
            sidecar(folder, plane.xds, ["p"], protocol=protocol) as envoy,
        ):

            async def is_up() -> bool:
                return bool(await envoy.healthy("p")) and await accepts(envoy.listeners["p"])

            await until("the sidecar listens and has its replica", is_up)
            yield envoy, one


async def accepts(port: int) -> bool:
    """Whether connections to a port are accepted."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def test_clients_reach_a_pool_over_tls_and_http2_and_not_in_plain_text(
    tmp_path: Path,
) -> None:
    ca = trustme.CA()
    files = Files(tmp_path / "tls", ca, NAME)
    async with listening(tmp_path, files.listener, "state-of-the-world") as (envoy, one):
        port = envoy.listeners["p"]
        assert await answered(port, client_context(ca, "http/1.1")) == 200
        headers = {":method": "GET", ":scheme": "https", ":authority": NAME, ":path": "/health"}
        answer = await ask(
            Address("127.0.0.1", port),
            headers,
            context=client_context(ca, "h2"),
            server_name=NAME,
        )
        assert answer.headers[":status"] == "200"
        served = one.served
        assert await envoy.post("p") == 0
        assert one.served == served


async def test_envoy_says_when_the_certificate_of_a_listener_ends(tmp_path: Path) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), NAME)
    async with (
        listening(tmp_path, files.listener) as (envoy, _),
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(f"{envoy.admin_url}/stats/prometheus") as response,
    ):
        text = await response.text()
    name = "envoy_listener_ssl_certificate_expiration_unix_time_seconds"
    (line,) = re.findall(rf"^{name}\{{(.*)\}} (\d+)$", text, re.M)
    ends = load_pem_x509_certificate(files.certificate.read_bytes()).not_valid_after_utc
    assert 'envoy_tls_certificate="p/certificate"' in line[0]
    assert int(line[1]) == ends.timestamp()


async def test_a_renewed_certificate_is_shown_at_once_and_no_request_fails(tmp_path: Path) -> None:
    ca = trustme.CA()
    files = Files(tmp_path / "tls", ca, NAME)
    async with listening(tmp_path, files.listener) as (envoy, _):
        port, context = envoy.listeners["p"], client_context(ca, "http/1.1")
        statuses: list[int] = []
        is_over = asyncio.Event()

        async def over_new_connections() -> None:
            while not is_over.is_set():
                statuses.append(await answered(port, context))

        async def over_one_connection() -> None:
            url = f"https://127.0.0.1:{port}/v1/embeddings"
            async with aiohttp.ClientSession(trust_env=False) as session:
                while not is_over.is_set():
                    async with session.post(
                        url, json={}, ssl=context, server_hostname=NAME
                    ) as response:
                        statuses.append(response.status)

        async with asyncio.TaskGroup() as clients:
            for _ in range(2):
                clients.create_task(over_new_connections())
                clients.create_task(over_one_connection())
            for _ in range(10):
                serial = files.renew(NAME)

                async def is_shown(serial: int = serial) -> bool:
                    return await served_serial(port, context) == serial

                await until("the new certificate is shown", is_shown)
                await until("requests went on", more_than(statuses, len(statuses) + 4))
            is_over.set()
        assert set(statuses) == {200}


def more_than(statuses: list[int], count: int) -> Callable[[], Awaitable[bool]]:
    """Whether there are more answers than so many."""

    async def holds() -> bool:
        return len(statuses) > count

    return holds


async def test_a_certificate_that_comes_after_the_envoy_is_used(tmp_path: Path) -> None:
    ca = trustme.CA()
    folder = tmp_path / "tls"
    folder.mkdir()
    tls = {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}
    async with listening(tmp_path, tls) as (envoy, _):
        port, context = envoy.listeners["p"], client_context(ca)
        assert await answered(port, context) == 0
        Files(folder, ca, NAME)

        async def serves() -> bool:
            return await answered(port, context) == 200

        await until("the certificate is used", serves)


async def test_clients_without_a_certificate_of_the_authority_get_nothing(tmp_path: Path) -> None:
    ca, clients, others = trustme.CA(), trustme.CA(), trustme.CA()
    files = Files(tmp_path / "tls", ca, NAME)
    clients.cert_pem.write_to_path(tmp_path / "tls" / "clients.crt")
    tls = {**files.listener, "client_ca": str(tmp_path / "tls" / "clients.crt")}
    async with listening(tmp_path, tls) as (envoy, one):
        port = envoy.listeners["p"]
        without, foreign, with_one = (client_context(ca) for _ in range(3))
        others.issue_cert("client").configure_cert(foreign)
        clients.issue_cert("client").configure_cert(with_one)
        assert await answered(port, without) == 0
        assert await answered(port, foreign) == 0
        assert one.served == 0
        assert await answered(port, with_one) == 200


async def test_a_client_whose_certificate_has_expired_cannot_resume_its_session(
    tmp_path: Path,
) -> None:
    ca, clients = trustme.CA(), trustme.CA()
    files = Files(tmp_path / "tls", ca, NAME)
    trusted = tmp_path / "tls" / "clients.crt"
    clients.cert_pem.write_to_path(trusted)
    async with listening(tmp_path, {**files.listener, "client_ca": str(trusted)}) as (envoy, _):
        port = envoy.listeners["p"]
        context = client_context(ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        expires = datetime.now(UTC) + timedelta(seconds=5)
        clients.issue_cert("client", not_after=expires).configure_cert(context)
        session = await asyncio.to_thread(established, port, context, None)

        async def has_expired() -> bool:
            return datetime.now(UTC) > expires + timedelta(seconds=1)

        await until("the certificate has expired", has_expired)
        with pytest.raises(OSError, match=r"(?i)alert|EOF|reset"):
            await asyncio.to_thread(established, port, context, session)


def established(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSession | None:
    """Open a connection, and return its session."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=NAME, session=session) as secured,
    ):
        secured.sendall(b"GET /health HTTP/1.1\r\nhost: p\r\n\r\n")
        assert secured.recv(1)
        return secured.session


async def test_a_gateway_shows_each_name_its_certificate_and_reloads_them(tmp_path: Path) -> None:
    ca = trustme.CA()
    names = ("a.test", "b.test")
    files = {name: Files(tmp_path / name, ca, name) for name in names}
    tls = validated(GatewayTls, {"certificates": [files[name].listener for name in names]})
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(replica())
        entry = pool_of("p", one, metrics={"profile": "none"})
        plane = await stack.enter_async_context(serving(tmp_path, [entry]))
        port = free_port()
        gateway = Address("127.0.0.1", port)
        data = bootstrap(
            "gateway", plane.xds, admin_port=free_port(), gateway=gateway, gateway_tls=tls
        )
        await stack.enter_async_context(running(tmp_path, data, port, "p"))
        context = client_context(ca)

        async def serves() -> bool:
            return all([await answered(port, context, name, "/p/") == 200 for name in names])

        await until("the gateway serves both names", serves)
        assert await answered(port, context, "c.test", "/p/") == 0
        serial = files["b.test"].renew("b.test", "c.test")

        async def is_shown() -> bool:
            return await served_serial(port, context, "b.test") == serial

        await until("the new certificate is shown", is_shown)
        assert await answered(port, context, "a.test", "/p/") == 200
        # A name that the new certificate has beside the old one is served, too.
        assert await answered(port, context, "c.test", "/p/") == 200
