"""The ways of a request: a pool for each, with a client's Envoy and a replica of its own."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import free_ports
from controlplane.resources.secret_sources import NodeTls, SecretSource
from controlplane.tools.load.http import Client, Response
from tests.certificates import Authority, node
from tests.envoy.mesh import ingress, install, pool_id
from tests.envoy.pools import pool
from tests.processes import process, serving, sidecar, until

PLAIN: Final = "plain"
WAYS: Final = {
    PLAIN: "one Envoy, plain text",
    "tls": "one Envoy, TLS at its listener",
    "hop": "two Envoys, plain text",
    "mtls": "two Envoys, mutual TLS",
}
_HOPS: Final = ("hop", "mtls")


@dataclass(frozen=True, slots=True)
class World:
    """One way.

    Attributes:
        url: Where the client's Envoy takes requests.
        pids: Of its Envoys.
        tls: For an ``https`` URL.
    """

    url: str
    pids: tuple[int, ...]
    tls: ssl.SSLContext | None


class Certificates:
    """All certificates of all ways, from one authority."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._authority = folder, Authority()
        self._makers = list[Callable[[], object]]()
        self.roots = self._authority.write(folder)

    def renew(self) -> int:
        """Put others in the place of all; returns how many there are."""
        for make in self._makers:
            make()
        return len(self._makers)

    def server(self, name: str) -> dict[str, str]:
        """The files of a server on loopback, as the config file says them."""
        folder = self._folder / f"{name}-tls"
        self._make(lambda: self._authority.server().write(folder, "leaf"))
        return {"certificate": str(folder / "leaf.pem"), "key": str(folder / "leaf-key.pem")}

    def envoy(self, name: str, uri: str) -> NodeTls:
        """The files of an Envoy with this SPIFFE id."""
        folder = self._folder / name
        self._make(lambda: install(self._authority, folder, uri))
        certificate, key, ca = (str(folder / f"{end}.pem") for end in ("leaf", "leaf-key", "ca"))
        return NodeTls(certificate, key, ca, str(folder), "127.0.0.1")

    def _make(self, make: Callable[[], object]) -> None:
        self._makers.append(make)
        make()


@asynccontextmanager
async def worlds(folder: Path) -> AsyncIterator[tuple[dict[str, World], Callable[[], int]]]:
    """Run all of them; the one that has no load does next to nothing.

    Yields:
        Them by the names in `WAYS`, and what replaces every certificate: of listeners, between
        Envoys, and on both sides of xDS.
    """
    certificates, found = Certificates(folder), dict[str, World]()
    async with AsyncExitStack() as stack:
        count = len(WAYS)
        ports = dict(zip(WAYS, zip(free_ports(count), free_ports(count), strict=True), strict=True))
        xds = certificates.server("control-plane") | {"client_ca": str(certificates.roots)}
        pools = [_pool(way, *ports[way], certificates) for way in WAYS]
        plane = await stack.enter_async_context(serving(folder, pools, xds_more={"tls": xds}))
        for way, (serves, listens) in ports.items():
            log = folder / f"{way}-replica.log"
            arguments = ("-m", "benchmarks.failover.replica", "--port", str(serves))
            more = ("--number", "0", "--slots", "64", "--token-seconds", "0")
            await stack.enter_async_context(process(sys.executable, *arguments, *more, log=log))
            envoys = []
            if way in _HOPS:
                name = f"{way}-ingress"
                shown = certificates.envoy(f"{name}-shown", pool_id(way))
                beside = ingress(
                    folder,
                    plane.xds,
                    way,
                    listens,
                    f"127.0.0.1:{serves}",
                    SecretSource.in_folder(shown.secrets),
                    name,
                    certificates.envoy(name, node(name)),
                )
                envoys.append(await stack.enter_async_context(beside))
            name = f"{way}-egress"
            own = certificates.envoy(name, node(name))
            secrets = SecretSource.in_folder(own.secrets)
            egress = sidecar(folder, plane.xds, [way], name, secrets=secrets, tls=own)
            envoys.append(await stack.enter_async_context(egress))
            context = (
                ssl.create_default_context(cafile=certificates.roots) if way == "tls" else None
            )
            address = f"127.0.0.1:{envoys[-1].listeners[way]}"
            url = f"{'https' if context else 'http'}://{address}/v1/embeddings"
            await until(f"{way} serves", partial(_serves, url, context))
            pids = tuple(envoy.pid for envoy in envoys if envoy.pid is not None)
            found[way] = World(url, pids, context)
        yield found, certificates.renew


def _pool(way: str, serves: int, listens: int, certificates: Certificates) -> dict[str, Any]:
    entry: dict[str, Any] = {"address": f"127.0.0.1:{serves}"}
    if way in _HOPS:
        entry["ingress"] = f"127.0.0.1:{listens}"
    made = pool(
        way,
        {"a": entry},
        mesh={"mode": "strict" if way == "mtls" else "off"},
        metrics={"profile": "none"},
        health_check={"interval": "1s"},
    )
    if way == "tls":
        made["listener"]["tls"] = certificates.server("listener")
    return made


async def _serves(url: str, context: ssl.SSLContext | None) -> bool:
    answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    client = Client(url, tls=context)
    client.post(b"{}", answered.set_result, 5.0)
    try:
        return (await answered).status == 200
    finally:
        client.close()
