"""Scraping with credentials and over https, against real sockets."""

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from aiohttp import web

from controlplane.config import Address
from controlplane.config.metrics import AccessSettings
from controlplane.plane import Failure
from controlplane.scraping import scrape as accesses
from controlplane.scraping.scrape import (
    RENEWED,
    Access,
    AccessError,
    Getter,
    Receiver,
    ScrapeError,
    scrape,
)
from controlplane.telemetry import Device, Reading
from tests.processes import DEADLINE
from tests.scraping.says import MOST, bodies, ok, saying
from tests.scraping.test_scraper import GOOD, Handler, first, following

# Made for these tests: of 127.0.0.1 and replica.test, valid for a hundred years, signed by itself.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBpTCCAUqgAwIBAgIURioZaZxEvq4TsS4kupYb96tQZ/UwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMcmVwbGljYS50ZXN0MCAXDTI2MTEyOTIyMTE0M1oYDzIxMjYx
MTA1MjIxMTQzWjAXMRUwEwYDVQQDDAxyZXBsaWNhLnRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAAQuEVr553HcsQfOroXv4LiVfAupIRcWKipC5NYx+d1nT+6J
7fVni8PkUn9RCzpahp5qbSZMNW6eaLFdUuIHVYgPo3IwcDAdBgNVHQ4EFgQUg1SY
Uey3/dOpibP7CW0/7lIzyGIwHwYDVR0jBBgwFoAUg1SYUey3/dOpibP7CW0/7lIz
yGIwHQYDVR0RBBYwFIcEfwAAAYIMcmVwbGljYS50ZXN0MA8GA1UdEwEB/wQFMAMB
Af8wCgYIKoZIzj0EAwIDSQAwRgIhAOzrDZAdFO/dTybubmA8D7kM8y1aFp2XbnxM
l6vY58u4AiEA5nEcJonw7ovBiA5fEtG0mhROtiESdG6/B9+XgTbKCRM=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyT7DltWClHmdp85k
eMj6pMbOUrLfVgqNc+2lemM24hWhRANCAAQuEVr553HcsQfOroXv4LiVfAupIRcW
KipC5NYx+d1nT+6J7fVni8PkUn9RCzpahp5qbSZMNW6eaLFdUuIHVYgP
-----END PRIVATE KEY-----
"""


@asynccontextmanager
async def serving(handler: Handler, folder: Path | None = None) -> AsyncIterator[int]:
    """A server at a port; over https where there is a folder for its certificate."""
    context = None
    if folder is not None:
        (folder / "ca.pem").write_text(CERTIFICATE)
        (folder / "key.pem").write_text(KEY)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    app = web.Application()
    app.router.add_get("/metrics", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def guarded(wanted: str) -> Handler:
    """Answers who has the right credentials."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401, text="what nobody may know")
        return web.Response(text=GOOD)

    return answer


async def asked(port: int, folder: Path, **said: str) -> str:
    """What a scrape yields: its text, or why there is none."""
    access = Access(AccessSettings.model_validate(said), folder)
    with closing(Getter(Receiver())) as getter:
        try:
            text, _ = await scrape(
                getter, Address("127.0.0.1", port), "/metrics", DEADLINE, access=access
            )
        except ScrapeError as error:
            return str(error)
    return text


async def test_a_token_of_a_file_goes_with_each_request(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    async with serving(guarded("Bearer s3cret")) as port:
        assert await asked(port, tmp_path, bearer_file="token") == GOOD
        refused = await asked(port, tmp_path)
    assert refused.endswith("answers 401, not 200: it wants credentials, see scraping in the docs")
    assert "nobody may know" not in refused


async def test_a_name_and_a_password_go_with_each_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("pass word\u00e9\n")
    pair = b64encode("me:pass word\u00e9".encode()).decode()
    said = {"username": "me", "password_file": "file"}
    async with serving(guarded(f"Basic {pair}")) as port:
        assert await asked(port, tmp_path, **said) == GOOD


async def test_a_certificate_is_checked_against_the_one_that_is_trusted(tmp_path: Path) -> None:
    async with serving(guarded("Bearer t"), tmp_path) as port:
        (tmp_path / "t").write_text("t")
        trusted = {"scheme": "https", "bearer_file": "t"}
        assert await asked(port, tmp_path, ca_file="ca.pem", **trusted) == GOOD
        named = {**trusted, "ca_file": "ca.pem", "server_name": "replica.test"}
        assert await asked(port, tmp_path, **named) == GOOD
        assert "its certificate is not trusted" in await asked(port, tmp_path, **trusted)
        other = await asked(port, tmp_path, **{**named, "server_name": "other.test"})
        assert "its certificate is not trusted: Hostname mismatch" in other


async def test_http_and_https_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    async with serving(guarded("")) as port:
        words = await asked(port, tmp_path, scheme="https", ca_file="ca.pem")
    assert "no TLS there: wrong version number" in words


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (None, "token cannot be read: No such file or directory"),
        (b"", "token must hold one line of printing characters"),
        (b"two words", "token must hold one line of printing characters"),
        (b"a\r\nX-Other: b", "token must hold one line of printing characters"),
        (b"\xff", "token is not UTF-8 text"),
        (b"x" * (accesses.MOST + 1), "token cannot be read: it is longer than 1048576 bytes"),
    ],
)
def test_a_file_that_holds_no_token_is_named(
    tmp_path: Path, content: bytes | None, because: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    access = Access(AccessSettings(bearer_file="token"), tmp_path)
    with pytest.raises(AccessError, match=because):
        _ = access.header


def test_whatever_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    access = Access(AccessSettings(bearer_file="token"), tmp_path)
    with pytest.raises(AccessError, match="token cannot be read: it is a pipe"):
        _ = access.header


def test_a_token_that_is_replaced_is_used_soon(tmp_path: Path) -> None:
    now = 0.0
    access = Access(AccessSettings(bearer_file="token"), tmp_path, lambda: now)
    (tmp_path / "token").write_text("old")
    assert "Bearer old" in access.header
    (tmp_path / "token").write_text("new")
    now += accesses.LOOK
    assert "Bearer new" in access.header


def test_certificates_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    access = Access(AccessSettings(scheme="https", ca_file="ca.pem"), tmp_path)
    with pytest.raises(AccessError, match=r"ca_file ca\.pem holds no certificate"):
        _ = access.context


async def test_text_beside_certificates_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    said = {"scheme": "https", "ca_file": "bundle.pem", "bearer_file": "token"}
    async with serving(guarded("Bearer s3cret"), tmp_path) as port:
        for text in ("Főtanúsítvány".encode(), b"f\xfcr alle"):
            (tmp_path / "bundle.pem").write_bytes(b"# " + text + b"\n" + CERTIFICATE.encode())
            assert await asked(port, tmp_path, **said) == GOOD


async def test_a_connection_is_made_anew_after_a_minute_so_that_other_processes_answer() -> None:
    now = 0.0
    with closing(Getter(Receiver(lambda: now, MOST))) as getter:
        async with saying(*[ok(b"a")] * 14) as server:
            for _ in range(14):
                await bodies(getter, server, 1)
                now += RENEWED / 6
            assert server.connections == 2


async def test_a_pool_says_with_which_credentials_it_is_scraped(tmp_path: Path) -> None:
    gpu = 'DCGM_FI_DEV_FB_USED{UUID="GPU-1"} 1\nDCGM_FI_DEV_FB_FREE{UUID="GPU-1"} 3\n'
    (tmp_path / "replicas").write_text("r")
    (tmp_path / "exporters").write_text("e")

    async def exporter(request: web.Request) -> web.Response:
        right = request.headers.get("Authorization") == "Bearer e"
        return web.Response(text=gpu, status=200 if right else 403)

    async with (
        serving(guarded("Bearer r")) as port,
        serving(exporter) as other,
        asyncio.timeout(DEADLINE),
    ):
        metrics = f'interval: 200ms, gpu: {{addresses: ["127.0.0.1:{other}"], interval: 200ms}}'
        scraping = (
            "scraping: {replicas: {bearer_file: replicas}, exporters: {bearer_file: exporters}}"
        )
        async with following([f"127.0.0.1:{port}"], metrics, scraping, tmp_path) as plane:
            assert isinstance(await first(plane.outcomes), Reading)
            told = await plane.devices.get()
            assert not isinstance(told, Failure)
            assert [type(item) for item in told] == [Device]


async def test_a_scrape_has_the_time_and_the_size_that_its_pool_gives_it() -> None:
    long = GOOD + "# " + "x" * 20_000 + "\n"

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.4)
        return web.Response(text=long)

    async with serving(slow) as port, asyncio.timeout(DEADLINE):
        for said, why in (
            ("interval: 100ms, timeout: 20s", None),
            ("interval: 30s, timeout: 100ms", "took longer than 0.1 s"),
            (
                "interval: 100ms, timeout: 20s, max_bytes: 10000",
                "is longer than 10000 bytes: metrics.max_bytes allows more",
            ),
        ):
            async with following([f"127.0.0.1:{port}"], said) as plane:
                outcome = await first(plane.outcomes)
            assert isinstance(outcome, Reading if why is None else Failure)
            assert why is None or (isinstance(outcome, Failure) and why in outcome.sentence)
