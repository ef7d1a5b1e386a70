"""A real Envoy and the whole control plane while sources find replicas and lose them."""

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.discovery.dns_server import dns_server
from tests.envoy.load import load
from tests.envoy.pools import pool, pool_of, serves
from tests.processes import Plimsoll, serving, sidecar, until
from tests.replica import FakeReplica, replica


def write(folder: Path, name: str, **replicas: FakeReplica) -> None:
    entries = [{"id": id_, "address": item.address} for id_, item in replicas.items()]
    (folder / ".new").write_text(yaml.safe_dump({"replicas": entries}))
    os.replace(folder / ".new", folder / name)


def forget(folder: Path) -> None:
    """Lose what a control plane has kept there."""
    for file in folder.glob("plimsoll.db*"):
        file.unlink()


async def draining(plane: Plimsoll) -> dict[str, str | None]:
    answer = await plane.get("/v1/pools/p")
    return {item["id"]: item["draining"] for item in answer["replicas"]}


async def test_replicas_of_a_folder_come_and_go_and_no_request_fails(tmp_path: Path) -> None:
    found = tmp_path / "replicas.d"
    found.mkdir()
    async with AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(replica()) for _ in range(3)]
        write(found, "one.yaml", a=a, b=b)
        source = {"directory": {"path": str(found), "interval": "100ms"}}
        entry = pool("p", {}, discovery=[source])
        plane = await stack.enter_async_context(serving(tmp_path, [entry]))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"]))
        await until("Envoy serves the pool", lambda: serves(envoy, "p"))
        statuses = await stack.enter_async_context(load(envoy, "p"))
        write(found, "two.yaml", c=c)

        async def has(*ids: str) -> bool:
            return await envoy.healthy("p") == set(ids)

        await until("Envoy has the third", lambda: has("a", "b", "c"))
        write(found, "one.yaml", a=a)

        async def drains() -> bool:
            return await draining(plane) == {"a": None, "b": "discovery", "c": None}

        await until("the one that is gone is drained", drains)

        async def is_left(*ids: str) -> bool:
            return set(await envoy.hosts("p")) == set(ids)

        await until("and then removed", lambda: is_left("a", "c"))
        # One file after the other: the folder may be read between any two steps.
        (found / "two.yaml").unlink()
        await until("a file that goes takes its replicas with it", lambda: is_left("a"))
        (found / "one.yaml").unlink()

        async def is_withheld() -> bool:
            answer: dict[str, Any] = await plane.get("/v1/pools/p")
            return set(answer["discovery"]["withheld"]) == {"a"}

        await until("an emptied folder empties no pool", is_withheld)
        assert await draining(plane) == {"a": None}
        assert await has("a")
        assert set(statuses) == {200}


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_control_plane_that_starts_while_dns_is_down_takes_no_pool_from_envoy(
    tmp_path: Path, *, is_kept: bool
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(dns_server())
        only = await stack.enter_async_context(replica())
        server.records[("tei.svc", "A")] = (1, ["127.0.0.1"])
        server.records[("tei.svc", "AAAA")] = (1, [])
        where = {"name": "tei.svc", "port": only.port, "server": f"127.0.0.1:{server.port}"}
        entry = pool("p", {}, discovery=[{"dns": where}])
        first = AsyncExitStack()
        plane = await first.enter_async_context(serving(tmp_path, [entry]))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"]))
        await until("Envoy serves the pool", lambda: serves(envoy, "p"))
        statuses = await stack.enter_async_context(load(envoy, "p"))
        await first.aclose()
        server.silent = True
        if not is_kept:
            forget(tmp_path)
        again = await stack.enter_async_context(serving(tmp_path, [entry], plane.xds.port))

        async def has_failed() -> bool:
            answer = await again.get("/v1/pools/p")
            return bool(answer["discovery"]["sources"][0]["failing"])

        await until("DNS has failed", has_failed)
        seen = only.served

        async def is_ready() -> bool:
            return await again.call("GET", "/readyz") == 200 and only.served > seen + 50

        if is_kept:
            await until("it serves what had been found before", is_ready)
        else:
            assert await again.call("GET", "/readyz") == 503
        server.silent = False
        seen = only.served
        await until("it serves once DNS is back", is_ready)
        assert set(statuses) == {200}


async def test_sources_take_the_place_of_declared_replicas_and_no_request_fails(
    tmp_path: Path,
) -> None:
    found = tmp_path / "replicas.d"
    found.mkdir()
    async with AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(replica()) for _ in range(3)]
        write(found, "one.yaml", x=a, y=b)
        plane = await stack.enter_async_context(serving(tmp_path, [pool_of("p", a, b)]))
        envoy = await stack.enter_async_context(sidecar(tmp_path, plane.xds, ["p"]))
        await until("Envoy serves the pool", lambda: serves(envoy, "p"))
        statuses = await stack.enter_async_context(load(envoy, "p"))
        source = {"directory": {"path": str(found), "interval": "100ms"}}
        config = tmp_path / "plimsoll.yaml"
        edited = yaml.safe_load(config.read_text())
        edited["pools"][0] |= {"replicas": [], "discovery": [source]}
        config.write_text(yaml.safe_dump(edited))

        async def are_found() -> bool:
            known = await plane.get("/v1/pools/p/replicas/r0")
            return bool(known["found_by"] == "the config file")

        await until("the file's replicas are handed over", are_found)
        write(found, "one.yaml", x=a, z=c)

        async def has_moved() -> bool:
            return set(await envoy.hosts("p")) == {"r0", "z"}

        await until("sources decide from then on", has_moved)
    assert statuses
    assert set(statuses) == {200}
