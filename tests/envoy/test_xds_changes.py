"""Real Envoys, in both protocols, while pools come, change and go: no request is lost."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from controlplane.resources.bootstrap import Protocol
from tests.envoy.load import load
from tests.envoy.pools import HEALTH_CHECK, PROTOCOLS, pool_of, put, serves
from tests.processes import Envoy, Plimsoll, serving, sidecar, until
from tests.replica import FakeReplica, replica


async def goes_on(statuses: Counter[int]) -> None:
    """Wait until fifty requests more were answered, or not."""
    seen = statuses.total()

    async def has_gone_on() -> bool:
        return statuses.total() > seen + 50

    await until("requests go on", has_gone_on)


@asynccontextmanager
async def standing(
    folder: Path, protocol: Protocol
) -> AsyncIterator[tuple[Plimsoll, Envoy, list[FakeReplica]]]:
    """A control plane with the pools ``steady`` and ``other``, and an Envoy that serves both."""
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica()) for _ in range(3)]
        # A replica alone always has the weight of its pool: no endpoints come by chance.
        pools = [
            pool_of(name, item) for name, item in zip(("steady", "other"), replicas, strict=False)
        ]
        plane = await stack.enter_async_context(serving(folder, pools))
        names = ["steady", "other", "third"]
        envoy = await stack.enter_async_context(
            sidecar(folder, plane.xds, names, protocol=protocol)
        )
        await until("Envoy serves both pools", lambda: serves(envoy, "steady", "other"))
        yield plane, envoy, replicas


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_pools_come_and_go_and_no_request_to_others_fails(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with (
        standing(tmp_path, protocol) as (plane, envoy, replicas),
        load(envoy, "steady") as statuses,
    ):
        for _ in range(2):
            await put(plane, pool_of("third", replicas[2]))
            await until("Envoy serves the new pool", lambda: serves(envoy, "third"))
            assert await plane.call("DELETE", "/v1/pools/third") == 204

            async def is_gone() -> bool:
                return not await envoy.hosts("third") and await envoy.post("third") == 0

            await until("Envoy has forgotten the pool", is_gone)
        await goes_on(statuses)
        assert set(statuses) == {200}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_cluster_that_changes_is_replaced_and_no_request_to_it_fails(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with (
        standing(tmp_path, protocol) as (plane, envoy, replicas),
        load(envoy, "steady") as statuses,
        load(envoy, "other") as others,
    ):
        before = await envoy.stat("cluster_manager.cluster_modified")
        for count, interval in enumerate(("150ms", "250ms", "200ms"), 1):
            check = HEALTH_CHECK | {"interval": interval}
            await put(plane, pool_of("other", replicas[1], health_check=check))

            async def is_replaced(count: int = count) -> bool:
                known = await envoy.stats(r"^cluster_manager\.")
                return (
                    # And with each that for its retries.
                    known["cluster_manager.cluster_modified"] == before + 2 * count
                    and known["cluster_manager.warming_clusters"] == 0
                )

            await until("the changed cluster is in use", is_replaced)
            await goes_on(others)
        assert await envoy.stat(r"cluster\.other.*\.init_fetch_timeout") == 0
        assert (set(statuses), set(others)) == ({200}, {200})


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_pool_of_the_same_name_comes_back_without_waiting_for_its_endpoints(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with standing(tmp_path, protocol) as (plane, envoy, replicas):
        entry = pool_of("third", replicas[2])
        for _ in range(2):
            await put(plane, entry)

            async def is_there() -> bool:
                return await envoy.healthy("third") == {"r0"} and await serves(envoy, "third")

            await until("Envoy serves the pool", is_there)
            assert [await envoy.post("third") for _ in range(50)] == [200] * 50
            # Envoy gives up waiting for endpoints after 15 s, and counts it.
            assert await envoy.stat(r"cluster\.third\.init_fetch_timeout") == 0
            assert await plane.call("DELETE", "/v1/pools/third") == 204

            async def is_gone() -> bool:
                return not await envoy.hosts("third")

            await until("Envoy has forgotten the pool", is_gone)
