"""The ways of a request: a pool for each, with a client's Envoy and a replica of its own."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.machine import free_ports
from controlplane.config import Address
from tests.certificates import Authority, node
from tests.envoy.mesh import ingress, install, pool_id
from tests.envoy.pools import pool
from tests.processes import Envoy, process, serving, sidecar, until

PLAIN: Final = "plain"
WAYS: Final = {
    PLAIN: "one Envoy, plain text",
    "hop": "two Envoys, plain text",
    "mtls": "two Envoys, mutual TLS",
}


@dataclass(frozen=True, slots=True)
class World:
    """One way.

    Attributes:
        port: Where the client's Envoy takes requests.
        pids: Of its Envoys.
    """

    port: int
    pids: tuple[int, ...]


@asynccontextmanager
async def worlds(folder: Path) -> AsyncIterator[tuple[dict[str, World], Callable[[], None]]]:
    """Run all of them; the one that has no load does next to nothing.

    Yields:
        Them by the names in `WAYS`, and what gives both Envoys of "mtls" other certificates.
    """
    authority, found = Authority(), dict[str, World]()
    async with AsyncExitStack() as stack:
        ports = dict(zip(WAYS, zip(free_ports(3), free_ports(3), strict=True), strict=True))
        entries = [
            pool(
                way,
                {"a": {"address": f"127.0.0.1:{serves}", **_ingress(way, listens)}},
                mesh={"mode": "strict" if way == "mtls" else "off"},
                metrics={"profile": "none"},
                health_check={"interval": "1s"},
            )
            for way, (serves, listens) in ports.items()
        ]
        plane = await stack.enter_async_context(serving(folder, entries))
        for way, (serves, listens) in ports.items():
            log = folder / f"{way}-replica.log"
            arguments = ("-m", "benchmarks.failover.replica", "--port", str(serves))
            more = ("--number", "0", "--slots", "64", "--token-seconds", "0")
            await stack.enter_async_context(process(sys.executable, *arguments, *more, log=log))
            envoys = []
            if way != PLAIN:
                secrets = install(authority, folder / f"{way}-ingress", pool_id(way))
                name = f"{way}-ingress"
                address = f"127.0.0.1:{serves}"
                envoys.append(
                    await stack.enter_async_context(
                        ingress(folder, plane.xds, way, listens, address, secrets, name)
                    )
                )
            secrets = install(authority, folder / f"{way}-egress", node(f"{way}-egress"))
            egress = sidecar(folder, plane.xds, [way], f"{way}-egress", secrets=secrets)
            envoys.append(await stack.enter_async_context(egress))

            async def serves_it(envoy: Envoy = envoys[-1], way: str = way) -> bool:
                return await envoy.post(way) == 200

            await until(f"{way} serves", serves_it)
            pids = tuple(item.pid for item in envoys if item.pid is not None)
            found[way] = World(envoys[-1].listeners[way], pids)

        def renew() -> None:
            install(authority, folder / "mtls-ingress", pool_id("mtls"))
            install(authority, folder / "mtls-egress", node("mtls-egress"))

        yield found, renew


def _ingress(way: str, port: int) -> dict[str, str]:
    return {} if way == PLAIN else {"ingress": str(Address("127.0.0.1", port))}
