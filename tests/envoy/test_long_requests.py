"""Long requests through a real Envoy: they reach fast replicas only, and always reach somebody."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.resources.bootstrap import Protocol
from tests.envoy.load import load
from tests.envoy.pools import PROTOCOLS, pool_of, put
from tests.processes import Envoy, Plimsoll, serving, sidecar, until
from tests.replica import BYTES_PER_TOKEN, FakeReplica, replica

POOL = "minilm"
LONG = 1000
"""Tokens of a long text; one in eight is, the others have an eighth of that. So half of the work is
long: more than the fast replicas can do would move what is called long."""
TEXTS = (*("s" * (LONG // 8 * BYTES_PER_TOKEN),) * 7, "l" * (LONG * BYTES_PER_TOKEN))
SPEEDS = (4.0, 4.0, 1.0, 1.0, 1.0)


@asynccontextmanager
async def fleet(
    folder: Path, protocol: Protocol = "delta", **more: Any
) -> AsyncIterator[tuple[Plimsoll, Envoy, dict[str, Any], list[FakeReplica], list[AsyncExitStack]]]:
    """Two fast replicas and three slow ones, each of which can be stopped."""
    async with AsyncExitStack() as stack:
        replicas, stops = [], []
        for speed in SPEEDS:
            stop = await stack.enter_async_context(AsyncExitStack())
            one = await stop.enter_async_context(replica())
            one.token_seconds = 0.0001 / speed
            replicas.append(one)
            stops.append(stop)
        entry = pool_of(POOL, *replicas, **more)
        async with (
            serving(folder, [entry]) as plane,
            sidecar(folder, plane.xds, [POOL], protocol=protocol) as envoy,
        ):

            async def serves() -> bool:
                return len(await envoy.healthy(POOL)) == 5 and await envoy.post(POOL) == 200

            await until("all are served", serves)
            yield plane, envoy, entry, replicas, stops


async def are_parted(plane: Plimsoll) -> bool:
    """Whether the control plane has requests parted, and every Envoy knows."""
    pool = await plane.get(f"/v1/pools/{POOL}")
    nodes = (await plane.get("/v1/nodes"))["nodes"]
    told = all(it["in_sync"] for node in nodes for it in node["types"])
    return bool(pool["long_requests"] and pool["long_requests"]["routed"] and told)


def long_ones(replicas: list[FakeReplica]) -> list[int]:
    """How many long requests each has answered."""
    return [sum(length >= LONG for length in it.lengths) for it in replicas]


async def after_more(replicas: list[FakeReplica], count: int) -> list[int]:
    """How many of the next long requests each gets."""
    before = long_ones(replicas)

    def gained() -> list[int]:
        return [now - then for now, then in zip(long_ones(replicas), before, strict=True)]

    async def are_enough() -> bool:
        return sum(gained()) >= count

    await until(f"{count} long requests more are answered", are_enough)
    return gained()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_long_requests_reach_fast_replicas_only_and_none_is_lost_on_the_way(
    tmp_path: Path, protocol: Protocol
) -> None:
    async with (
        fleet(tmp_path, protocol) as (plane, envoy, entry, replicas, _),
        load(envoy, POOL, texts=TEXTS) as statuses,
    ):
        await until("long requests are parted", lambda: are_parted(plane))
        # What was under way may still come.
        await after_more(replicas, 8)
        fast = await after_more(replicas, 40)
        assert fast[2:] == [0, 0, 0]
        assert min(fast[:2]) > 0
        # And back: as soon as it is not wanted any more, they go to all.
        await put(plane, {**entry, "balancing": {"long_requests": "any-replica"}, "replicas": []})

        async def are_together() -> bool:
            return f"{POOL}:long" not in await envoy.clusters()

        await until("the second cluster is gone", are_together)
        assert sum((await after_more(replicas, 60))[2:]) > 0
        assert set(statuses) == {200}


async def test_when_all_fast_replicas_die_long_requests_go_to_the_others(tmp_path: Path) -> None:
    async with (
        fleet(tmp_path) as (plane, envoy, _, replicas, stops),
        load(envoy, POOL, texts=TEXTS) as statuses,
    ):
        await until("long requests are parted", lambda: are_parted(plane))
        await after_more(replicas, 8)
        for stop in stops[:2]:
            await stop.aclose()
        slow = await after_more(replicas, 20)
        assert sum(slow[2:]) >= 18
        assert set(statuses) == {200}


async def test_the_first_long_request_after_all_fast_replicas_died_is_answered_too(
    tmp_path: Path,
) -> None:
    # No health check sees it first.
    seldom = {"interval": "60s", "timeout": "200ms"}
    async with fleet(tmp_path, health_check=seldom) as (plane, envoy, _, replicas, stops):
        async with load(envoy, POOL, texts=TEXTS):
            await until("long requests are parted", lambda: are_parted(plane))
            await after_more(replicas, 8)
        for stop in stops[:2]:
            await stop.aclose()
        assert await envoy.post(POOL, TEXTS[-1]) == 200


async def test_an_envoy_that_comes_later_parts_them_from_its_first_request_on(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path) as (plane, envoy, _, replicas, _):
        async with load(envoy, POOL, texts=TEXTS):
            await until("long requests are parted", lambda: are_parted(plane))
        before = long_ones(replicas)
        (tmp_path / "later").mkdir()
        async with sidecar(tmp_path / "later", plane.xds, [POOL]) as later:

            async def serves() -> bool:
                return await later.post(POOL) == 200

            await until("it serves", serves)
            statuses = {await later.post(POOL, TEXTS[-1]) for _ in range(10)}
        after = [now - then for now, then in zip(long_ones(replicas), before, strict=True)]
        assert statuses == {200}
        assert after[2:] == [0, 0, 0]
