"""Real Envoys, in both protocols, when the control plane dies, is not there yet, or comes back."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.config import Address
from controlplane.resources.bootstrap import Protocol
from tests.envoy.load import load
from tests.envoy.pools import PROTOCOLS, all_serve, pool_of, put, serves
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
    return len(nodes) == count and all(
        len(node["types"]) == 4 and node["in_sync"] for node in nodes
    )


async def built(envoy: Envoy) -> dict[str, int]:
    """Counts everything that Envoy has made anew, and the versions that it holds.

    The version gauges are hashes of the version texts; those of endpoints are of the newest answer
    and not of what it said, so an update of endpoints counts unless Envoy found nothing new in it.
    """
    found = await envoy.stats(
        r"^(cluster_manager|listener_manager)\.[^.]*(cluster|listener)_(added|modified|removed)$"
        r"|\.config_reload$|\.membership_change$|[.](cds|lds)\.version$|rds\..*\.version$"
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


async def told(plane: Plimsoll) -> list[dict[str, Any]]:
    """What each replica gets, and whether Envoys know it."""
    return [
        {key: item[key] for key in ("pool", "id", "tier", "weight", "drained", "shown_to_envoy")}
        for pool in "pq"
        for item in (await plane.get(f"/v1/pools/{pool}/replicas"))["replicas"]
    ]


def kept(folder: Path) -> set[tuple[str, str, str | None, int]]:
    """Pool, id, tier and weight of each replica, as a control plane has them on disk by now."""
    # It lets nobody else read: what a kill now would leave is what is copied.
    copy = folder / "copy"
    copy.mkdir(exist_ok=True)
    for file in folder.glob("plimsoll.db*"):
        shutil.copy(file, copy)
    with contextlib.closing(sqlite3.connect(copy / "plimsoll.db")) as database:
        rows = database.execute("SELECT pool, replica, data FROM weighings WHERE replica != ''")
        read = [(pool, id_, json.loads(data)["weighing"]) for pool, id_, data in rows]
    return {(pool, id_, item["tier"] or None, item["weight"]) for pool, id_, item in read}


async def versions(plane: Plimsoll) -> dict[str, str]:
    """Of everything of a type that the Envoy holds, by the type."""
    (node,) = (await plane.get("/v1/nodes"))["nodes"]
    return {item["type_url"]: item["acknowledged"] for item in node["types"]}


async def settled(plane: Plimsoll, folder: Path) -> list[dict[str, Any]]:
    """What replicas get, once it has not changed for a while, Envoy has it and it is on disk.

    A machine that stands still for seconds may change it at any time, so all of it is looked at
    together, and again until all of it holds.
    """
    before, since, differs = await told(plane), 0, set[tuple[str, str, str | None, int]]()

    async def has_started() -> bool:
        nonlocal before, since, differs
        await asyncio.sleep(0.25)
        now = await told(plane)
        since = since + 1 if now == before and await connected(plane, 1) else 0
        before = now
        with contextlib.suppress(sqlite3.DatabaseError):  # copied in the middle of a write
            differs = kept(folder) ^ {
                (item["pool"], item["id"], item["tier"], item["weight"]) for item in now
            }
            return since >= 10 and not differs
        return False

    try:
        await until("what replicas get stands still and is on disk", has_started)
    except AssertionError as error:
        error.add_note(f"still for {since} looks; on disk or told, not both: {differs}")
        raise
    return before


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_control_plane_that_restarts_with_unchanged_state_rebuilds_nothing(
    tmp_path: Path, protocol: Protocol
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        services = (0.001, 0.002, 0.008, 0.002)
        replicas = [await stack.enter_async_context(replica(service)) for service in services]
        pools = [pool_of("p", *replicas[:3]), pool_of("q", replicas[3])]
        async with killed_at_the_end(tmp_path, pools, port) as plane:
            envoy = await stack.enter_async_context(
                sidecar(tmp_path, plane.xds, ["p", "q"], protocol=protocol)
            )
            await until("Envoy serves both pools", lambda: serves(envoy, "p", "q"))

            async def has_weighed() -> bool:
                return len({item["weight"] for item in await told(plane)}) > 1

            async with load(envoy, "p", workers=2):
                await until("replicas differ in what they get", has_weighed)
            # Without traffic nothing new is learned of them. One that is alone has no others to
            # differ from.
            statuses = await stack.enter_async_context(load(envoy, "q", workers=2))
            weights = await settled(plane, tmp_path)
            held = await versions(plane)
        before, updates = await built(envoy), await updated(envoy)
        again = await stack.enter_async_context(serving(tmp_path, pools, port))
        await until("Envoy is connected again", lambda: connected(again, 1))
        seen = replicas[3].served

        async def has_served_on() -> bool:
            return replicas[3].served > seen + 50

        await until("requests go on", has_served_on)
        assert await told(again) == weights
        # Of a type of which it has all, state of the world says nothing to who has it.
        assert {
            url: version or held[url] for url, version in (await versions(again)).items()
        } == held
        assert await built(envoy) == before
        if protocol == "state-of-the-world":
            # Envoy says which version of all of them it has, and that is all there is to say. In
            # delta it gets an empty answer. What it asks for by name is answered in both.
            assert await updated(envoy) == updates
        assert set(statuses) == {200}


def lose(folder: Path) -> None:
    """Take away all that a control plane has kept."""
    for file in folder.glob("plimsoll.db*"):
        file.unlink()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_control_plane_that_has_lost_all_pools_takes_nothing_away(
    tmp_path: Path, protocol: Protocol
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        only = await stack.enter_async_context(replica())
        entry = pool_of("p", only)
        async with killed_at_the_end(tmp_path, [], port) as plane:
            await put(plane, entry)
            envoy = await stack.enter_async_context(
                sidecar(tmp_path, plane.xds, ["p"], protocol=protocol)
            )
            await until("Envoy serves the pool", lambda: serves(envoy, "p"))
            await until("it has all", lambda: connected(plane, 1))
            statuses = await stack.enter_async_context(load(envoy, "p", workers=2))
        lose(tmp_path)
        before = await built(envoy)
        again = await stack.enter_async_context(serving(tmp_path, [], port))

        async def asked() -> int:
            return await envoy.stat(r"cluster\._plimsoll\.upstream_rq_total")

        tried = await asked()

        async def was_refused() -> bool:
            # More than once for resources and once to report load, as who is let in does.
            return await asked() > tried + 3

        await until("Envoy has asked again and was refused", was_refused)
        assert (await again.get("/v1/nodes"))["nodes"] == []
        assert await built(envoy) == before
        await put(again, entry)
        await until("it is connected and has all again", lambda: connected(again, 1))
        assert await serves(envoy, "p")
        assert set(statuses) == {200}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_control_plane_that_has_lost_its_registry_takes_no_replica_away(
    tmp_path: Path, protocol: Protocol
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(replica()) for _ in range(2)]
        entry, other = pool_of("p", first, second), pool_of("q", first)
        # The file declares one pool, whose replicas register themselves; the other is the API's.
        pools = [entry | {"replicas": []}]
        async with killed_at_the_end(tmp_path, pools, port) as plane:
            for each in (entry, other):
                await put(plane, each)
            envoy = await stack.enter_async_context(
                sidecar(tmp_path, plane.xds, ["p", "q"], protocol=protocol)
            )
            await until("Envoy serves the pools", lambda: serves(envoy, "p", "q"))
            await until("it has all", lambda: connected(plane, 1))
            statuses = await stack.enter_async_context(load(envoy, "p", workers=2))
        lose(tmp_path)
        again = await stack.enter_async_context(serving(tmp_path, pools, port))
        # One of them comes back, and both are still used.
        await put(again, entry | {"replicas": entry["replicas"][:1]})

        async def is_said() -> bool:
            return f"{second.address}, which is not known here" in log(tmp_path)

        await until("the loss is said", is_said)
        seen = second.served

        async def serves_on() -> bool:
            return second.served > seen + 50

        await until("what is not known serves on", serves_on)
        fresh = await stack.enter_async_context(
            sidecar(tmp_path, again.xds, ["p"], "fresh", protocol=protocol)
        )
        await until("who holds nothing is served", lambda: serves(fresh, "p"))
        assert await fresh.healthy("p") == {"r0"}
        assert await serves(envoy, "p", "q")
        assert set(statuses) == {200}


def log(folder: Path) -> str:
    return (folder / "plimsoll.log").read_text()


async def test_who_holds_nothing_is_served_at_once_with_an_empty_pool(tmp_path: Path) -> None:
    entry = pool_of("p")
    async with serving(tmp_path, [entry]) as plane, sidecar(tmp_path, plane.xds, ["p"]) as envoy:

        async def has_listener() -> bool:
            return await envoy.post("p") == 503

        await until("its listener answers", has_listener)
        # An Envoy waits 15 s for what does not come, and counts it.
        waited_in_vain = await envoy.stats(r"init_fetch_timeout$")
        assert waited_in_vain
        assert not any(waited_in_vain.values())


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
                    for i in range(3)
                )
            )

            async def have(names: set[str]) -> bool:
                return all([await envoy.healthy("p") == names for envoy in envoys])

            await until("all have the replica", lambda: have({"r0"}))
        again = await stack.enter_async_context(serving(tmp_path, [after], port))
        await until("all have the new one too", lambda: have({"r0", "r1"}))
        await until("all have acknowledged", lambda: connected(again, len(envoys)))
        assert await all_serve(envoys, "p")
