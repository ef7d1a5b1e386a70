"""Health probes against real sockets: HTTP/1.1, HTTP/2 and gRPC, plain and over TLS."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import grpc
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from controlplane.config import PoolSettings, validated
from controlplane.config.metrics import AccessSettings
from controlplane.fleet import PutPool
from controlplane.plane import Probe, Target
from controlplane.scraping.probe import Prober
from controlplane.scraping.scrape import Access
from controlplane.telemetry import Reading
from tests.authority import Files
from tests.fleet.fleets import after, put
from tests.grpc_replica import SERVICE, GrpcReplica, grpc_replica
from tests.processes import DEADLINE
from tests.replica import replica
from tests.scraping.test_scraper import following

GRPC = {"protocol": "grpc", "service": SERVICE}
HTTP2 = {"protocol": "http2"}


async def probed(port: int, *times: object, **settings: object) -> Probe:
    """What comes of asking the replica r0 of a pool with these settings."""
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **settings}
    fleet = after(PutPool("p", validated(PoolSettings, body)), put("r0", port))
    pool = fleet.pool("p")
    target = Target("p", pool.replicas["r0"], pool.settings, probe=True)

    def access(asked: AccessSettings | None) -> Access | None:
        return None if asked is None else Access(asked)

    async with aiohttp.ClientSession(trust_env=False) as session, asyncio.timeout(DEADLINE):
        prober = Prober(session, access)
        found = await prober.probe(target)
        for _ in times:
            assert await prober.probe(target) is found
        return found


def upstream(files: Files, name: str | None = None, **more: str) -> dict[str, object]:
    return {"tls": {"ca": str(files.ca), "server_name": name}, **more}


@pytest.mark.parametrize("server_name", [None, "replica.test"])
async def test_a_replica_over_tls_is_asked_if_its_certificate_is_of_its_name(
    tmp_path: Path, server_name: str | None
) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), server_name or "r0")
    async with replica(tls=files.server_context()) as one:
        assert await probed(one.port, upstream=upstream(files, server_name)) is Probe.HEALTHY
        one.loaded = False
        assert await probed(one.port, upstream=upstream(files, server_name)) is Probe.UNHEALTHY


async def test_what_is_not_trusted_is_logged_once_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), "replica.test")
    others = Files(tmp_path / "others", trustme.CA(), "replica.test")
    ended = Files(tmp_path / "ended", trustme.CA(), "replica.test", has_ended=True)
    async with (
        replica(tls=files.server_context()) as valid,
        replica(tls=ended.server_context()) as expired,
    ):
        for one, said, why in (
            (valid, upstream(files), "not valid for 'r0'"),
            (valid, upstream(others, "replica.test"), "unable to get local issuer"),
            (valid, {"tls": {"ca": "system", "server_name": "replica.test"}}, "unable to get"),
            (valid, {"tls": {"ca": str(tmp_path / "none"), "server_name": "a"}}, "cannot be read"),
            (expired, upstream(ended, "replica.test"), "certificate has expired"),
        ):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert await probed(one.port, "again", upstream=said) is Probe.UNTRUSTED
            (line,) = caplog.messages
            assert line.startswith(
                f"the certificate of p/r0 at 127.0.0.1:{one.port} is not trusted"
            )
            assert why in line


async def test_what_speaks_no_tls_is_not_reached_over_it(tmp_path: Path) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), "r0")
    async with replica() as one:
        assert await probed(one.port, upstream=upstream(files)) is Probe.UNREACHABLE


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_server_of_grpc_is_asked_about_its_service(tmp_path: Path, scheme: str) -> None:
    secured = scheme == "https"
    files = Files(tmp_path / "tls", trustme.CA(), "r0")
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials([pair]) if secured else None
    said = upstream(files, protocol="http2") if secured else HTTP2
    async with grpc_replica(credentials=credentials) as one:
        assert await probed(one.port, upstream=said, health_check=GRPC) is Probe.HEALTHY
        await one.says("NOT_SERVING")
        assert await probed(one.port, upstream=said, health_check=GRPC) is Probe.UNHEALTHY
        # The server as a whole serves.
        whole = {"protocol": "grpc"}
        assert await probed(one.port, upstream=said, health_check=whole) is Probe.HEALTHY
        unknown = {"protocol": "grpc", "service": "x" * 200}
        assert await probed(one.port, upstream=said, health_check=unknown) is Probe.UNHEALTHY
        if secured:
            other = upstream(files, "other.test", protocol="http2")
            assert await probed(one.port, upstream=other, health_check=GRPC) is Probe.UNTRUSTED


async def test_what_speaks_no_grpc_and_what_does_not_listen_is_told_apart() -> None:
    async with replica() as one:
        assert await probed(one.port, upstream=HTTP2, health_check=GRPC) is Probe.UNREACHABLE
    stopped = GrpcReplica()
    assert await probed(stopped.port, upstream=HTTP2, health_check=GRPC) is Probe.REFUSED


async def test_what_hangs_is_given_up_after_the_checks_timeout() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        check = {**GRPC, "timeout": "50ms"}
        assert await probed(port, upstream=HTTP2, health_check=check) is Probe.UNREACHABLE


@asynccontextmanager
async def http2_server(status: str, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Answers requests over HTTP/2, and nothing else, with a status where they are to /ready."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        with suppress(Exception):
            while data := await reader.read(1 << 14):
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        asked = {str(name): str(value) for name, value in event.headers or ()}
                        ready = asked == {**asked, ":path": "/ready", "x-probe": "yes"}
                        head = [(":status", status if ready else "404")]
                        connection.send_headers(event.stream_id or 0, head, end_stream=True)
                writer.write(connection.data_to_send())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("status", "scheme", "probe"),
    [
        ("200", "http", Probe.HEALTHY),
        ("503", "http", Probe.UNHEALTHY),
        ("200", "https", Probe.HEALTHY),
    ],
)
async def test_a_replica_that_speaks_http2_alone_is_asked_over_it(
    tmp_path: Path, status: str, scheme: str, probe: Probe
) -> None:
    secured = scheme == "https"
    files = Files(tmp_path / "tls", trustme.CA(), "r0")
    context = files.server_context() if secured else None
    if context is not None:
        context.set_alpn_protocols(["h2"])
    said = upstream(files, protocol="http2") if secured else HTTP2
    check = {"path": "/ready", "headers": {"X-Probe": "yes"}}
    async with http2_server(status, context) as port:
        assert await probed(port, upstream=said, health_check=check) is probe


def reached_by(files: Files) -> str:
    return f"upstream: {{tls: {{ca: {files.ca}}}}}"


async def test_metrics_at_the_port_of_requests_are_scraped_as_requests_are_sent(
    tmp_path: Path,
) -> None:
    files = Files(tmp_path / "tls", trustme.CA(), "a")

    async with replica(tls=files.server_context()) as one, asyncio.timeout(DEADLINE):
        async with following([one.address], "interval: 100ms", reached_by(files)) as plane:
            assert isinstance(await plane.outcomes.get(), Reading)
        others = Files(tmp_path / "others", trustme.CA(), "a")
        async with following([one.address], "interval: 100ms", reached_by(others)) as plane:
            outcome = await plane.outcomes.get()
            assert "its certificate is not trusted" in str(outcome)
