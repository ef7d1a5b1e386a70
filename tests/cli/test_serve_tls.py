"""``plimsoll serve`` with the API over https, and commands that trust it and are known to it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml
from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from controlplane.identity import read_certificate
from tests.certificates import WEAK, Authority, Leaf
from tests.metrics.exposed import parsed
from tests.processes import DEADLINE, command, free_port, run, until

CA = Authority()
ALICE = "spiffe://plimsoll.local/operator/alice"
POOL = {"name": "m", "model": "m", "listener": {"address": "127.0.0.1:10000"}}


def config_in(folder: Path, server: Leaf, **tls: object) -> tuple[Path, int]:
    """A config file with https, beside its certificates; and the port of the API."""
    server.write(folder / "tls", "api")
    CA.write(folder / "tls")
    port = free_port()
    files = {"certificate": "tls/api.pem", "key": "tls/api-key.pem", "client_ca": "tls/ca.pem"}
    admin = {"address": f"127.0.0.1:{port}", "tls": files | {"clients": {ALICE: "read"}} | tls}
    xds = {"address": f"127.0.0.1:{free_port()}"}
    path = folder / "plimsoll.yaml"
    path.write_text(yaml.safe_dump({"admin": admin, "xds": xds, "pools": [POOL]}))
    return path, port


@asynccontextmanager
async def serving(folder: Path, server: Leaf) -> AsyncIterator[str]:
    """The URL of a control plane."""
    path, port = config_in(folder, server)

    async def answers() -> bool:
        # A probe needs neither TLS nor a certificate.
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/readyz") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async with command(folder / "plimsoll.log", "serve", "--config", path):
        await until("it is ready", answers)
        yield f"https://127.0.0.1:{port}"


async def asked(url: str, env: Mapping[str, str], *arguments: str) -> Result:
    runner = CliRunner(env={"PLIMSOLL_URL": url, **env})
    return await asyncio.to_thread(runner.invoke, plimsoll, arguments)


async def test_commands_trust_the_root_and_show_a_certificate(tmp_path: Path) -> None:
    certificate, key = (str(item) for item in CA.leaf([ALICE]).write(tmp_path, "alice"))
    ca = str(CA.write(tmp_path))
    files = {"PLIMSOLL_CA": ca, "PLIMSOLL_CERTIFICATE": certificate, "PLIMSOLL_KEY": key}
    async with serving(tmp_path, CA.server()) as url:
        by_environment = await asked(url, files, "pools", "--json")
        assert (by_environment.exit_code, '"m"' in by_environment.stdout) == (0, True)
        options = ["--ca", ca, "--certificate", certificate, "--key", key]
        assert (await asked(url, {}, "pools", *options)).exit_code == 0
        forbidden = await asked(url, files, "pools", "remove", "m", "--yes")
        assert f"the certificate '{ALICE}' has the role read" in forbidden.stderr
        without = await asked(url, {"PLIMSOLL_CA": ca}, "pools")
        assert "the token is missing" in without.stderr
        distrusting = await asked(url, {}, "pools")
        assert "cannot be trusted" in distrusting.stderr
        assert distrusting.stderr.endswith("; name its roots with --ca or PLIMSOLL_CA\n")
        # `bootstrap` asks for the names of pools in the same way.
        warned = await asked(url, files, "bootstrap", "--node", "n", "--pool", "other")
        assert "has no pool 'other'" in warned.stderr
    for result in (forbidden, without, distrusting):
        assert result.exit_code == 1


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path, CA.server()) as url:
        renewed = CA.server()
        renewed.write(tmp_path / "tls", "api")
        host, _, port = url.removeprefix("https://").partition(":")

        async def is_shown() -> bool:
            shown = await asyncio.to_thread(
                ssl.get_server_certificate, (host, int(port)), timeout=DEADLINE
            )
            return shown.strip().encode() == renewed.certificate.strip()

        await until("the new certificate is shown", is_shown)
        context = ssl.create_default_context(cadata=CA.root.decode())
        context.load_cert_chain(*CA.leaf([ALICE]).write(tmp_path, "alice"))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url}/metrics", ssl=context) as answer,
        ):
            metrics = parsed(await answer.text())
    (shown,) = metrics["plimsoll_certificate_expiry_timestamp_seconds"].samples
    assert shown.labels == {"certificate": "admin"}
    assert shown.value == read_certificate(renewed.certificate).expires


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("none", "admin.tls: certificate tls/api.pem cannot be read: No such file or directory"),
        ("expired", "admin.tls: certificate expired at "),
        ("mixed", "admin.tls: key does not belong to the certificate"),
        ("weak", "admin.tls: key must be RSA of 2048 bits or more, P-256 or P-384"),
    ],
)
async def test_certificates_that_cannot_be_used_are_said_at_the_start(
    tmp_path: Path, broken: str, why: str
) -> None:
    expired = CA.leaf([ALICE], begins=-100, ends=-10)
    shown = {"expired": expired, "weak": WEAK}.get(broken) or CA.server()
    path, _ = config_in(tmp_path, shown)
    if broken == "none":
        (tmp_path / "tls" / "api.pem").unlink()
    if broken == "mixed":
        (tmp_path / "tls" / "api-key.pem").write_bytes(CA.server().key)
    code, _, errors = await run("serve", "--config", path)
    assert code == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"plimsoll: {why}")
