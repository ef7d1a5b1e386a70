"""Real Envoys and a real control plane over TLS: who is served, renewal on both sides, the log."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from cryptography import x509

from controlplane.cli.group import plimsoll
from controlplane.resources.secret_sources import NodeTls
from tests.certificates import Authority, Leaf, node
from tests.envoy.pools import pool_of, running, serves
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, until
from tests.replica import FakeReplica, replica

CA, OTHER_CA = Authority(), Authority()


@asynccontextmanager
async def plane_with(
    folder: Path, *replicas: FakeReplica, roots: bytes = CA.root, **more: Any
) -> AsyncIterator[Plimsoll]:
    """A control plane whose certificates are in a folder beside its config."""
    CA.server().write(folder / "tls", "xds")
    (folder / "tls" / "clients.pem").write_bytes(roots)
    files = {"certificate": "xds.pem", "key": "xds-key.pem", "client_ca": "clients.pem"}
    tls = {key: f"tls/{name}" for key, name in files.items()} | more
    async with serving(folder, [pool_of("p", *replicas)], xds_more={"tls": tls}) as plane:
        yield plane


def tls_of(folder: Path, name: str, leaf: Leaf, host: str = "127.0.0.1") -> NodeTls:
    """With files of a node's own."""
    here = folder / f"tls-{name}"
    certificate, key = leaf.write(here, "node")
    return NodeTls(str(certificate), str(key), str(CA.write(here)), str(here), host)


def log_of(folder: Path) -> str:
    return (folder / "plimsoll.log").read_text()


async def has_logged(folder: Path, *words: str) -> None:
    async def has() -> bool:
        return all(word in log_of(folder) for word in words)

    await until(f"the log has {words}", has)


def serial(leaf: Leaf) -> int:
    return x509.load_pem_x509_certificate(leaf.certificate).serial_number


async def shows(envoy: Envoy, leaf: Leaf) -> bool:
    """Whether an Envoy has read this certificate."""
    known = (await envoy.admin("/certs"))["certificates"]
    return any(
        int(chain["serial_number"], 16) == serial(leaf)
        for item in known
        for chain in item.get("cert_chain", [])
    )


class Load:
    """One request after the other through an Envoy, and how they were answered."""

    def __init__(self, envoy: Envoy) -> None:
        self.envoy, self.statuses = envoy, dict[int, int]()

    async def run(self) -> None:
        while True:
            status = await self.envoy.post("p")
            self.statuses[status] = self.statuses.get(status, 0) + 1
            await asyncio.sleep(0.01)


async def test_an_envoy_with_a_certificate_is_served_and_the_servers_renewal_ends_no_stream(
    tmp_path: Path,
) -> None:
    async with replica() as one, plane_with(tmp_path, one) as plane, AsyncExitStack() as stack:
        admin, port = free_port(), free_port()
        certificate, key = CA.node("sidecar-1").write(tmp_path / "node", "node")
        ca = CA.write(tmp_path / "node")
        arguments = ["--node", "sidecar-1", "--xds", plane.xds, "--admin-port", admin]
        arguments += ["--listen", f"p=127.0.0.1:{port}", "--tls-certificate", certificate]
        arguments += ["--tls-key", key, "--tls-ca", ca, "--json"]
        printed = await asyncio.to_thread(
            CliRunner().invoke, plimsoll, ["bootstrap", *map(str, arguments)]
        )
        assert printed.exit_code == 0, printed.output
        bootstrap = json.loads(printed.stdout)
        envoy = await stack.enter_async_context(running(tmp_path, bootstrap, port, "p"))
        await until("it serves", lambda: serves(envoy, "p"))
        (known,) = (await plane.get("/v1/nodes"))["nodes"]
        assert (known["id"], known["identity"]) == ("sidecar-1", node("sidecar-1"))

        async def reports() -> bool:
            return (await envoy.stat("load_reporter.requests")) > 0

        await until("it reports its load over TLS", reports)
        wrong = CA.server()
        (tmp_path / "tls" / "xds-key.pem").write_bytes(wrong.key)
        await has_logged(
            tmp_path,
            "the certificates stay as they were: xds.tls: key does not",
        )
        wrong.write(tmp_path / "tls", "xds")
        await has_logged(tmp_path, "xds.tls has changed and is in use")
        assert log_of(tmp_path).count("stay as they were") == 1
        # Who connects now is shown the new one.
        tls = tls_of(tmp_path, "sidecar-2", CA.node("sidecar-2"))
        late = await stack.enter_async_context(
            sidecar(tmp_path, plane.xds, ["p"], "sidecar-2", tls=tls)
        )
        await until("another serves", lambda: serves(late, "p"))
        assert await serves(envoy, "p")
        assert "sidecar-1 disconnected" not in log_of(tmp_path)


async def test_nodes_and_roots_are_renewed_under_load(tmp_path: Path) -> None:
    both = CA.root + OTHER_CA.root
    async with (
        replica() as one,
        replica() as two,
        plane_with(tmp_path, one, roots=both, max_connection_age="1s") as plane,
        AsyncExitStack() as stack,
    ):
        tls = tls_of(tmp_path, "sidecar", CA.node("sidecar"))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"], tls=tls))
        await until("it serves", lambda: serves(envoy, "p"))
        load = Load(envoy)
        sending = asyncio.create_task(load.run())
        renewed = OTHER_CA.node("sidecar")
        renewed.write(Path(tls.secrets), "node")
        await until("Envoy has the new certificate", lambda: shows(envoy, renewed))
        (tmp_path / "tls" / "clients.pem").write_bytes(OTHER_CA.root)
        await has_logged(tmp_path, "xds.tls has changed and is in use")
        seen = log_of(tmp_path).count("sidecar connected")

        async def is_back() -> bool:
            return log_of(tmp_path).count("sidecar connected") >= seen + 2

        await until("it has connected again with the new certificate", is_back)
        assert await plane.call("PUT", "/v1/pools/p/replicas/r1", {"address": two.address}) == 201

        async def knows_the_second() -> bool:
            return await envoy.healthy("p") == {"r0", "r1"}

        await until("it learns of changes", knows_the_second)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert load.statuses.keys() == {200}


async def test_an_envoy_that_has_renewed_its_certificate_is_served_when_the_first_one_ends(
    tmp_path: Path,
) -> None:
    async with replica() as one, plane_with(tmp_path, one) as plane:
        tls = tls_of(tmp_path, "sidecar", CA.node("sidecar", ends=20))
        async with sidecar(tmp_path, plane.xds, ["p"], tls=tls) as envoy:
            await until("it serves", lambda: serves(envoy, "p"))
            renewed = CA.node("sidecar")
            renewed.write(Path(tls.secrets), "node")
            await until("Envoy has the new certificate", lambda: shows(envoy, renewed))
            await has_logged(tmp_path, "sidecar disconnected")

            async def is_back() -> bool:
                return log_of(tmp_path).count("sidecar connected") >= 2

            await until("it has connected again", is_back)


REFUSED: Mapping[str, tuple[Leaf, str]] = {
    "other": (CA.node("sidecar"), "it calls itself 'other', and its certificate is of"),
    "two": (CA.leaf([node("two"), node("sidecar")]), "its certificate has 2 URIs"),
    "abroad": (CA.leaf(["spiffe://abroad/node/abroad"]), "of 'spiffe://abroad/node/abroad'"),
    "unknown": (CA.node("unknown"), "node 'unknown' is not in xds.tls.nodes"),
    "beyond": (CA.node("beyond"), "it may not have pool 'p'"),
    "late": (CA.node("late", begins=-100, ends=-10), "certificate has expired"),
    "foreign": (OTHER_CA.node("foreign"), "unable to get local issuer certificate"),
}
NODES = {"two": ["p"], "other": ["p"], "sidecar": ["p"], "beyond": ["q"], "late": ["p"]}


async def test_envoys_that_prove_nothing_are_refused_and_the_log_says_why(tmp_path: Path) -> None:
    async with (
        replica() as one,
        plane_with(tmp_path, one, nodes={**NODES, "foreign": ["p"]}) as plane,
        AsyncExitStack() as stack,
    ):
        envoys = []
        for name, (leaf, _) in REFUSED.items():
            tls = tls_of(tmp_path, name, leaf)
            made = sidecar(tmp_path, plane.xds, ["p"], name, tls=tls)
            envoys.append(await stack.enter_async_context(made))
        plain = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"], "plain"))
        for _, why in REFUSED.values():
            await has_logged(tmp_path, why)
        await has_logged(tmp_path, "xDS refuses a TLS connection: wrong version number")
        answer = await plane.get("/v1/nodes")
        assert answer["nodes"] == []
        listed = {item["id"]: item["reason"] for item in answer["refused"]}
        # Those whose certificate names no node of ours are known by their address.
        assert listed.keys() == {"sidecar", "127.0.0.1", "beyond"}
        assert listed["beyond"] == "it may not have pool 'p'"
        for envoy in (*envoys, plain):
            assert await envoy.clusters() == {"_plimsoll"}
        result = await asyncio.to_thread(
            CliRunner().invoke, plimsoll, ["nodes", "--url", f"http://{plane.admin}"]
        )
        assert "it may not have pool 'p'" in result.stdout


async def test_an_envoy_takes_nothing_of_a_server_that_another_name_is_of(tmp_path: Path) -> None:
    async with replica() as one, plane_with(tmp_path, one) as plane, AsyncExitStack() as stack:
        # It has a certificate of the right root, as any node has.
        CA.leaf([node("intruder")]).write(tmp_path / "tls", "xds")
        await has_logged(tmp_path, "xds.tls has changed and is in use")
        tls = tls_of(tmp_path, "sidecar", CA.node("sidecar"))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"], tls=tls))

        async def has_refused() -> bool:
            return await envoy.stat("cluster._plimsoll.ssl.fail_verify_san") > 0

        await until("Envoy refuses the name", has_refused)
        assert (await plane.get("/v1/nodes"))["nodes"] == []
