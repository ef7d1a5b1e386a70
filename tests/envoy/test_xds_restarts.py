"""Real Envoys, in both protocols, when the control plane dies, is not there yet, or comes back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.resources.bootstrap import Protocol
from controlplane.settings import Address
from tests.envoy.load import load
from tests.envoy.pools import PROTOCOLS, all_serve, pool_of, serves
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, until
from tests.replica import replica


@asynccontextmanager
async def killed_at_the_end(
    folder: Path, pools: Sequence[dict[str, Any]], port: int
) -> AsyncIterator[Plimsoll]:
    """A control plane that gets no chance to say goodbye."""
    async with serving(folder, pools, port) as plane:
        try:
            yield plane
        finally:
            plane.kill()


async def connected(plane: Plimsoll, count: int) -> bool:
    """Whether so many Envoys are there, each with all that it asked for."""
    nodes = (await plane.get("/v1/nodes"))["nodes"]
    return len(nodes) == count and all(len(it["types"]) == 4 and it["in_sync"] for it in nodes)


async def built(envoy: Envoy) -> dict[str, int]:
    """Counts everything that Envoy has made anew, and the versions that it holds.

    The version gauges are hashes of the version texts. An update of endpoints counts unless Envoy
    found that it said nothing new.
    """
    found = await envoy.stats(
        r"^(cluster_manager|listener_manager)\.[^.]*(cluster|listener)_(added|modified|removed)$"
        r"|\.config_reload$|\.membership_change$|[.](cds|lds)\.version$|rds\..*\.version$"
        r"|^cluster\..*\.version$"
    )
    updates = await envoy.stats(r"^cluster\..*\.update_(success|no_rebuild)$")
    for name, count in updates.items():
        if name.endswith(".update_success"):
            unchanged = updates[name.removesuffix("success") + "no_rebuild"]
            found[f"{name} less no_rebuild"] = count - unchanged
    return found


async def updated(envoy: Envoy) -> dict[str, int]:
    """Counts the responses with clusters and with listeners that Envoy has accepted."""
    return await envoy.stats(r"\.(cds|lds)\.update_success$")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_control_plane_that_restarts_with_unchanged_state_rebuilds_nothing(
    tmp_path: Path, protocol: Protocol
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        # A replica alone always has the weight of its pool. Weights of several may differ after a
        # restart, as long as what was measured does not survive it.
        replicas = [await stack.enter_async_context(replica()) for _ in range(2)]
        pools = [pool_of(name, it) for name, it in zip(("p", "q"), replicas, strict=True)]
        async with killed_at_the_end(tmp_path, pools, port) as plane:
            envoy = await stack.enter_async_context(
                sidecar(tmp_path, plane.xds, ["p", "q"], protocol=protocol)
            )
            await until("Envoy serves both pools", lambda: serves(envoy, "p", "q"))
            statuses = await stack.enter_async_context(load(envoy, "p", workers=2))
            await until("Envoy has acknowledged all", lambda: connected(plane, 1))
            before, updates = await built(envoy), await updated(envoy)
        again = await stack.enter_async_context(serving(tmp_path, pools, port))
        await until("Envoy is connected again", lambda: connected(again, 1))
        seen = replicas[0].served

        async def has_served_on() -> bool:
            return replicas[0].served > seen + 50

        await until("requests go on", has_served_on)
        assert await built(envoy) == before
        if protocol == "state-of-the-world":
            # Envoy says which version of all of them it has, and that is all there is to say. In
            # delta it gets an empty answer. What it asks for by name is answered in both.
            assert await updated(envoy) == updates
        assert set(statuses) == {200}


async def test_envoys_that_start_before_the_control_plane_get_their_configuration_later(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(replica())
        envoys = [
            await stack.enter_async_context(
                sidecar(tmp_path, Address("127.0.0.1", port), ["p"], protocol, protocol=protocol)
            )
            for protocol in PROTOCOLS
        ]
        for envoy in envoys:
            assert await envoy.stat("control_plane.connected_state") == 0
        await stack.enter_async_context(serving(tmp_path, [pool_of("p", only)], port))
        await until("all serve the pool", lambda: all_serve(envoys, "p"))


async def test_many_envoys_that_reconnect_at_once_all_get_what_is_new(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        old, new = [await stack.enter_async_context(replica()) for _ in range(2)]
        before, after = pool_of("p", old), pool_of("p", old, new)
        async with killed_at_the_end(tmp_path, [before], port) as plane:
            envoys = await asyncio.gather(
                *(
                    stack.enter_async_context(
                        sidecar(tmp_path, plane.xds, ["p"], f"{protocol}-{i}", protocol=protocol)
                    )
                    for protocol in PROTOCOLS
                    for i in range(6)
                )
            )

            async def have(names: set[str]) -> bool:
                return all([await envoy.healthy("p") == names for envoy in envoys])

            await until("all have the replica", lambda: have({"r0"}))
        again = await stack.enter_async_context(serving(tmp_path, [after], port))
        await until("all have the new one too", lambda: have({"r0", "r1"}))
        await until("all have acknowledged", lambda: connected(again, len(envoys)))
        assert await all_serve(envoys, "p")
