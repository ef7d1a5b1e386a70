"""The API over https: who is let in by a certificate, and which certificate the server shows."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.auth import server_context
from controlplane.api.server import Limits
from controlplane.ca.folder import CaFolder
from controlplane.ca.issuing import Issuer
from controlplane.client import (
    Client,
    ClientError,
    ForbiddenError,
    UnauthorizedError,
    UnreachableError,
)
from controlplane.config import Role, Token
from controlplane.identity import CertificateError, Credentials
from tests.api.served import POOL, REPLICA, Served, served
from tests.certificates import DAY, WEAK, Authority, Leaf
from tests.processes import DEADLINE

CA, OTHER_CA = Authority(), Authority()
SERVER = CA.server()
ALICE = "spiffe://plimsoll.local/operator/alice"
REGISTRAR = "spiffe://plimsoll.local/registrar/rack-7"
CLIENTS = {
    "spiffe://plimsoll.local/operator/*": "operate",
    "spiffe://plimsoll.local/registrar/*": "register",
    "CN=grafana": "read",
}
TOKEN = "s3cret" * 5


def credentials(leaf: Leaf = SERVER, ca: Authority = CA) -> Credentials:
    return Credentials(leaf.certificate, leaf.key, ca.root)


@asynccontextmanager
async def over_tls(clients: Mapping[str, str] = CLIENTS, **options: Any) -> AsyncIterator[Served]:
    files = {"certificate": "c", "key": "k", "client_ca": "ca" if clients else None}
    async with served(
        tls={**files, "clients": clients}, credentials=credentials(), **options
    ) as api:
        yield api


@asynccontextmanager
async def client(
    api: Served,
    folder: Path,
    leaf: Leaf | None = None,
    token: str | None = None,
    ca: Authority = CA,
) -> AsyncIterator[Client]:
    roots = ca.write(folder)
    files = leaf.write(folder, "client") if leaf else (None, None)
    certificate, key = (str(file) if file else None for file in files)
    url = f"https://{api.address}"
    async with Client(url, token=token, ca=str(roots), certificate=certificate, key=key) as here:
        yield here


async def test_a_certificate_has_the_role_that_the_config_gives_it(tmp_path: Path) -> None:
    async with over_tls() as api:
        async with client(api, tmp_path, CA.leaf([ALICE])) as alice:
            await alice.put_pool("m", POOL)
        async with client(api, tmp_path, CA.leaf([REGISTRAR])) as registrar:
            await registrar.put_replica("m", "a", REPLICA)
            with pytest.raises(ForbiddenError, match=f"the certificate '{REGISTRAR}' has the role"):
                await registrar.delete_pool("m")
        async with client(api, tmp_path, CA.leaf(common_name="grafana")) as grafana:
            assert [pool.name for pool in await grafana.pools()] == ["m"]
            with pytest.raises(ForbiddenError, match="'CN=grafana' has the role read"):
                await grafana.put_replica("m", "b", REPLICA)
        async with client(api, tmp_path, CA.leaf([ALICE])) as alice:
            assert [entry.who for entry in (await alice.audit()).entries] == [REGISTRAR, ALICE]


async def test_what_one_certificate_registers_no_other_changes(tmp_path: Path) -> None:
    async with over_tls() as api:
        async with client(api, tmp_path, CA.leaf([ALICE])) as alice:
            await alice.put_pool("m", POOL)
        async with client(api, tmp_path, CA.leaf([REGISTRAR])) as registrar:
            await registrar.put_replica("m", "a", REPLICA)
        other = "spiffe://plimsoll.local/registrar/rack-8"
        async with client(api, tmp_path, CA.leaf([other])) as registrar:
            with pytest.raises(ForbiddenError):
                await registrar.delete_replica("m", "a")


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        (CA.leaf(["spiffe://plimsoll.local/node/sidecar-1"]), "is not in admin.tls.clients"),
        (CA.leaf([ALICE, REGISTRAR]), "names several URIs"),
        (CA.leaf([], common_name="graf"), "CN=graf is not in admin.tls.clients"),
        # A name that a certificate has beside its URI gives it nothing.
        (CA.leaf(["spiffe://plimsoll.local/x"], common_name="grafana"), "is not in"),
        (CA.leaf(), "names neither"),
    ],
    ids=["unknown", "two URIs", "unknown name", "name beside a URI", "nameless"],
)
async def test_another_certificate_is_refused(leaf: Leaf, why: str, tmp_path: Path) -> None:
    async with over_tls() as api, client(api, tmp_path, leaf) as here:
        with pytest.raises(ForbiddenError, match=why):
            await here.pools()


async def test_without_a_certificate_it_takes_a_token(tmp_path: Path) -> None:
    tokens = (Token.of(TOKEN, Role.READ, "t"),)
    async with over_tls(tokens=tokens) as api:
        async with client(api, tmp_path) as nobody:
            with pytest.raises(UnauthorizedError):
                await nobody.pools()
        async with client(api, tmp_path, token=TOKEN) as reader:
            assert await reader.pools() == ()
        # Of the two the token counts: it is what the client chose to send.
        async with client(api, tmp_path, CA.leaf([ALICE]), token=TOKEN) as both:
            with pytest.raises(ForbiddenError, match="the token 't'"):
                await both.put_pool("m", POOL)


async def test_with_clients_and_no_tokens_loopback_needs_a_certificate(tmp_path: Path) -> None:
    async with over_tls() as api, client(api, tmp_path) as nobody:
        with pytest.raises(UnauthorizedError):
            await nobody.pools()


async def test_a_certificate_that_expires_ends_what_is_open(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        over_tls(limits=Limits(heartbeat=0.05)) as api,
        client(api, tmp_path, CA.leaf([ALICE])) as alice,
    ):
        events = alice.events()
        await anext(events)
        api.now = time.time() + 2 * DAY
        with pytest.raises(ClientError, match="has expired"):
            await alice.pools()
        with pytest.raises(ClientError):
            async for _ in events:
                pass


@pytest.mark.parametrize(
    "leaf",
    [CA.leaf([ALICE], begins=-100, ends=-10), OTHER_CA.leaf([ALICE])],
    ids=["expired", "foreign root"],
)
async def test_the_log_says_why_a_handshake_failed(
    leaf: Leaf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with over_tls() as api, client(api, tmp_path, leaf) as here:
        with pytest.raises(UnreachableError):
            await here.pools()
        async with asyncio.timeout(DEADLINE):
            while not caplog.messages:
                await asyncio.sleep(0.01)
    assert caplog.messages[0].startswith("the API refuses a TLS connection from 127.0.0.1:")
    assert caplog.messages[0].endswith(
        ("certificate has expired", "unable to get local issuer certificate")
    )


async def test_a_client_trusts_no_other_root_and_no_other_name(tmp_path: Path) -> None:
    async with over_tls({}) as api:
        async with client(api, tmp_path, ca=OTHER_CA) as here:
            with pytest.raises(UnreachableError, match="certificate"):
                await here.pools()
        api.server.accept_credentials(credentials(CA.server("elsewhere.example")))
        async with client(api, tmp_path) as here:
            with pytest.raises(UnreachableError, match="certificate"):
                await here.pools()


def shown(api: Served) -> bytes | None:
    """The certificate that the server shows now."""
    context = ssl.create_default_context(cadata=CA.root.decode())
    at = api.address.host, api.address.port
    with (
        socket.create_connection(at, timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        # The server waits for the first bytes before it takes a connection.
        return secure.getpeercert(binary_form=True)


async def test_a_renewed_certificate_is_shown_and_what_is_open_goes_on(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        over_tls() as api,
        client(api, tmp_path, CA.leaf([ALICE])) as alice,
    ):
        events = alice.events()
        await anext(events)
        before = await asyncio.to_thread(shown, api)
        renewed = CA.server()
        api.server.accept_credentials(credentials(renewed))
        after = await asyncio.to_thread(shown, api)
        assert before == ssl.PEM_cert_to_DER_cert(SERVER.certificate.decode())
        assert after == ssl.PEM_cert_to_DER_cert(renewed.certificate.decode())
        await alice.put_pool("m", POOL)
        assert (await anext(events)).kind == "pool"


async def test_a_revoked_certificate_has_no_role(tmp_path: Path) -> None:
    folder = CaFolder(tmp_path / "ca")
    folder.create("plimsoll.local", time.time())
    issuer = Issuer(folder, "plimsoll.local", 3600, {})
    nodes = {"spiffe://plimsoll.local/node/*": "operate"}
    async with (
        over_tls(nodes, issuer=issuer) as api,
        client(api, tmp_path, CA.node("web-1")) as revoked,
    ):
        assert await revoked.pools() == ()
        folder.revoke(node="web-1")
        issuer.adopt(issuer.read())
        with pytest.raises(ForbiddenError, match="node/web-1 is revoked"):
            await revoked.pools()
        async with client(api, tmp_path, CA.node("web-2")) as other:
            assert await other.pools() == ()


def test_what_openssl_does_not_take_is_refused_before_it_is_in_use() -> None:
    with pytest.raises(CertificateError, match="ee key too small"):
        server_context(credentials(WEAK))


async def test_a_root_that_is_taken_away_is_not_trusted_any_more(tmp_path: Path) -> None:
    async with over_tls() as api:
        api.server.accept_credentials(credentials(ca=OTHER_CA))
        async with client(api, tmp_path, CA.leaf([ALICE])) as alice:
            with pytest.raises(UnreachableError):
                await alice.pools()


async def test_probes_are_answered_in_plain_text_and_nothing_else_is() -> None:
    async with over_tls() as api:
        assert b"200 OK" in await api.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await api.raw(b"GET /v1/pools HTTP/1.1\r\nHost: x\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"ca": "none.pem"}, "none.pem cannot be read"),
        ({"certificate": "none.pem"}, "none.pem cannot be read"),
        ({"key": "none.pem"}, "a key goes with a certificate"),
    ],
)
def test_files_that_cannot_be_used_are_said_before_anything_is_sent(
    files: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Client("https://127.0.0.1:1", **files)  # type: ignore[arg-type]
