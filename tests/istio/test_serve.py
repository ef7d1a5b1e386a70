"""``plimsoll serve`` and a client that speaks as istiod does: what a fleet does reaches it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from controlplane.config import Address
from tests.envoy.pools import pool
from tests.istio.client import RULE, istiod
from tests.processes import Plimsoll, free_port, serving
from tests.replica import replica


@asynccontextmanager
async def plimsoll(folder: Path, entry: dict[str, object], port: int) -> AsyncIterator[Plimsoll]:
    """``plimsoll serve`` with istiod's port. Its registry is not new: nothing is missing."""
    istio = {"address": f"127.0.0.1:{port}"}
    if not (folder / "plimsoll.db").exists():
        async with serving(folder, []):
            pass
    async with serving(folder, [entry], istio=istio) as plane:
        yield plane


async def test_what_becomes_of_replicas_reaches_istiod(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(replica()) for _ in range(2)]
        entry = pool("p", {"a": {"address": one.address}, "b": {"address": other.address}})
        plane = await stack.enter_async_context(plimsoll(tmp_path, entry, port))
        client = await stack.enter_async_context(istiod(Address("127.0.0.1", port)))
        await client.until(lambda: len(client.endpoints()) == 2 and client.held.get(RULE))
        said = (await plane.get("/v1/pools/p/replicas"))["replicas"]
        assert {
            at: (endpoint.locality, endpoint.weight) for at, endpoint in client.endpoints().items()
        } == {item["address"]: (f"//{item['tier']}", item["weight"]) for item in said}

        assert "plimsoll_xds_istiods 1.0" in await plane.text("/metrics")
        assert await plane.call("POST", "/v1/pools/p/replicas/a/drain") == 200
        await client.until(lambda: client.endpoints().keys() == {other.address})
        assert await plane.call("POST", "/v1/pools/p/replicas/a/undrain") == 200
        await client.until(lambda: len(client.endpoints()) == 2)


async def test_a_replica_that_is_not_well_is_taken_from_sidecars(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(replica()) for _ in range(2)]
        entry = pool("p", {"a": {"address": one.address}, "b": {"address": other.address}})
        await stack.enter_async_context(plimsoll(tmp_path, entry, port))
        client = await stack.enter_async_context(istiod(Address("127.0.0.1", port)))
        await client.until(lambda: len(client.endpoints()) == 2)
        other.loaded = False
        await client.until(lambda: client.endpoints().keys() == {one.address})
        other.loaded = True
        await client.until(lambda: len(client.endpoints()) == 2)


async def test_no_answer_after_a_restart_takes_replicas_away(tmp_path: Path) -> None:
    port = free_port()
    async with replica() as one:
        entry = pool("p", {"a": {"address": one.address}})
        for _ in range(2):
            # As soon as the port is open, and before any replica was asked for its health.
            async with (
                plimsoll(tmp_path, entry, port),
                istiod(Address("127.0.0.1", port)) as server,
            ):
                await server.until(server.endpoints)
                assert server.fewest == 1
