"""A real Envoy that cannot open a listener: who is told, what it keeps, how all else goes on."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane.resources.bootstrap import Protocol
from controlplane.resources.resource import LISTENER
from tests.envoy.load import load
from tests.envoy.pools import HEALTH_CHECK, PROTOCOLS, all_serve, pool_of, put, serves
from tests.processes import Plimsoll, free_port, serving, sidecar, until
from tests.replica import replica

NOT_OURS: Final = "203.0.113.1:1"
"""An address for documentation (RFC 5737), which no host has."""

REJECTED: Final = "listener_manager.lds.update_rejected"


async def rejection(plane: Plimsoll, node: str) -> Any:
    """What the API says of the listeners that a node last rejected."""
    for item in (await plane.get("/v1/nodes"))["nodes"]:
        for status in item["types"]:
            if (item["id"], status["type_url"]) == (node, LISTENER):
                return status["last_rejection"]
    return None


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_listener_that_envoy_rejects_keeps_nothing_else_from_anybody(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(replica()) for _ in range(2)]
        good, bad = pool_of("good", a), pool_of("bad", a)
        port = int(bad["listener"]["address"].rpartition(":")[2])
        plane = await stack.enter_async_context(serving(tmp_path, [good, bad]))
        names = ["good", "bad", "third"]
        refuser = await stack.enter_async_context(
            sidecar(tmp_path, plane.xds, names, "refuser", protocol=protocol, unmoved={"bad": port})
        )
        other = await stack.enter_async_context(
            sidecar(tmp_path, plane.xds, names, "other", protocol=protocol)
        )
        envoys = (refuser, other)
        await until("both serve both", lambda: all_serve(envoys, "good", "bad"))
        async with load(refuser, "bad", workers=1) as statuses:
            await put(plane, bad | {"listener": {"address": NOT_OURS}})

            async def is_reported() -> bool:
                found = await rejection(plane, "refuser")
                return bool(found and found["names"] == ["bad"] and NOT_OURS in found["message"])

            await until("the API names the listener, with Envoy's words", is_reported)
            assert await rejection(plane, "other") is None

            # Something of every type: endpoints, a new pool, and the bad one's cluster and route.
            await put(plane, pool_of("good", a, b))
            await put(plane, pool_of("third", b))
            check, route = HEALTH_CHECK | {"interval": "150ms"}, {"timeout": "50s"}
            changed = bad | {"health_check": check, "route": route}
            await put(plane, changed | {"listener": {"address": NOT_OURS}})

            async def is_all_there() -> bool:
                for envoy in envoys:
                    if await envoy.healthy("good") != {"r0", "r1"}:
                        return False
                    if await envoy.stat("http.bad.rds.bad.config_reload") != 2:
                        return False
                    if await envoy.stat("cluster_manager.cluster_modified") != 2:
                        return False
                return await all_serve(envoys, "third", "good", "bad")

            await until("both have everything else", is_all_there)
            # The timeout of the route is the deadline of uploads, too: it is another listener now.
            assert await refuser.stat(REJECTED) == 2
            assert await other.stat(REJECTED) == 0
        assert set(statuses) == {200}

        moved = free_port()
        await put(plane, changed | {"listener": {"address": f"127.0.0.1:{moved}"}})
        refuser.listeners = {**refuser.listeners, "bad": moved}
        await until("Envoy takes the listener put right", lambda: serves(refuser, "bad"))
        assert await refuser.stat(REJECTED) == 2
        log = (tmp_path / "plimsoll.log").read_text().splitlines()
        lines = [item for item in log if " rejected " in item]
        assert len(lines) == 2
        assert all("refuser rejected Listener bad: " in line and NOT_OURS in line for line in lines)
