"""Long requests through a real Envoy: they reach fast replicas only, and always reach somebody."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.resources.bootstrap import Protocol
from tests.envoy.load import load
from tests.envoy.pools import BRIEF, pool_of, put
from tests.processes import Envoy, Plimsoll, serving, sidecar, until
from tests.replica import BYTES_PER_TOKEN, FakeReplica, replica

POOL = "minilm"
LONG = 1000
"""Tokens of a long text; one in twelve is, the others have an eighth of that. So two fifths of the
work are long: more than the fast replicas can do would move what is called long."""
TEXTS = (*("s" * (LONG // 8 * BYTES_PER_TOKEN),) * 11, "l" * (LONG * BYTES_PER_TOKEN))
SPEEDS = (4.0, 4.0, 1.0, 1.0, 1.0)
BUSY = 400.0
"""Requests per second: three quarters of what they carry."""


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
        entry = pool_of(POOL, *replicas, **({"health_check": dict(BRIEF)} | more))
        async with (
            serving(folder, [entry]) as plane,
            sidecar(folder, plane.xds, [POOL], protocol=protocol) as envoy,
        ):

            async def serves() -> bool:
                return len(await envoy.healthy(POOL)) == 5 and await envoy.post(POOL) == 200

            await until("all are served", serves)
            yield plane, envoy, entry, replicas, stops


async def parting(plane: Plimsoll) -> tuple[int, list[str]] | None:
    """From how many bytes on a request goes to which replicas only; None: none does."""
    parting = (await plane.get(f"/v1/pools/{POOL}"))["parting"]
    if parting is None or not parting[0]["routed"]:
        return None
    return parting[0]["match"]["min_bytes"], parting[0]["replicas"]


async def are_parted(plane: Plimsoll) -> bool:
    """Whether the control plane has requests parted, and every Envoy knows."""
    nodes = (await plane.get("/v1/nodes"))["nodes"]
    told = all(item["in_sync"] for node in nodes for item in node["types"])
    return told and await parting(plane) is not None


def long_ones(replicas: list[FakeReplica]) -> list[int]:
    """How many long requests each has answered."""
    return [sum(length >= LONG for length in item.lengths) for item in replicas]


async def after_more(replicas: list[FakeReplica], count: int) -> list[int]:
    """How many of the next long requests each gets."""
    before = long_ones(replicas)

    def gained() -> list[int]:
        return [now - then for now, then in zip(long_ones(replicas), before, strict=True)]

    async def are_enough() -> bool:
        return sum(gained()) >= count

    await until(f"{count} long requests more are answered", are_enough)
    return gained()


async def test_long_requests_reach_fast_replicas_only_and_none_is_lost_on_the_way(
    tmp_path: Path,
) -> None:
    async with (
        fleet(tmp_path, "state-of-the-world") as (plane, envoy, entry, replicas, _),
        load(envoy, POOL, rate=BUSY, texts=TEXTS) as statuses,
    ):
        await until("long requests are parted", lambda: are_parted(plane))

        async def reach_fast_ones_only() -> bool:
            # By chance that happens once in hundreds of thousands of times. A machine that stands
            # still for a moment makes a replica look slow, and then for a while another part of
            # them is long, or none: so not the first 40 need do.
            fast = await after_more(replicas, 40)
            return fast[2:] == [0, 0, 0] and min(fast[:2]) > 0

        await until("40 in a row reach the fast replicas, and only them", reach_fast_ones_only)
        # And back: as soon as it is not wanted any more, they go to all.
        await put(plane, {**entry, "balancing": {"long_requests": "any-replica"}, "replicas": []})

        async def are_together() -> bool:
            return f"{POOL}:bulk" not in await envoy.clusters()

        await until("the second cluster is gone", are_together)
        assert sum((await after_more(replicas, 60))[2:]) > 0
        assert set(statuses) == {200}


async def test_when_all_fast_replicas_die_long_requests_go_to_the_others(tmp_path: Path) -> None:
    async with (
        fleet(tmp_path) as (plane, envoy, _, replicas, stops),
        load(envoy, POOL, rate=BUSY, texts=TEXTS) as statuses,
    ):
        await until("long requests are parted", lambda: are_parted(plane))
        await after_more(replicas, 8)
        for stop in stops[:2]:
            await stop.aclose()
        slow = await after_more(replicas, 20)
        assert sum(slow[2:]) >= 18
        assert set(statuses) == {200}


async def test_the_first_long_request_is_served_by_who_comes_later_and_after_fast_ones_died(
    tmp_path: Path,
) -> None:
    # No health check sees it first.
    seldom = BRIEF | {"interval": "60s"}
    async with fleet(tmp_path, health_check=seldom) as (plane, envoy, _, replicas, stops):
        for attempt in range(5):
            async with load(envoy, POOL, rate=BUSY, texts=TEXTS):
                await until("long requests are parted", lambda: are_parted(plane))
            before, told = long_ones(replicas), await parting(plane)
            statuses = await through_another(tmp_path, f"later-{attempt}", plane)
            # What came late of the load may have changed what is long, and who is fast.
            if told is not None and await parting(plane) == told:
                break
        else:
            raise AssertionError("never: what is long stands still for as long as an Envoy starts")
        after = [now - then for now, then in zip(long_ones(replicas), before, strict=True)]
        assert statuses == {200}
        assert after[2:] == [0, 0, 0]
        for stop in stops[:2]:
            await stop.aclose()
        assert await envoy.post(POOL, TEXTS[-1]) == 200


async def through_another(folder: Path, node: str, plane: Plimsoll) -> set[int]:
    """What comes of ten long requests that are the first through an Envoy that has just started."""
    async with sidecar(folder, plane.xds, [POOL], node) as later:

        async def serves() -> bool:
            return await later.post(POOL) == 200

        await until("it serves", serves)
        return {await later.post(POOL, TEXTS[-1]) for _ in range(10)}
