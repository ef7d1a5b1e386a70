"""What becomes of requests when replicas fail, through real Envoys."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.envoy.faulty import POISON, POOL, Fault, fleet
from tests.envoy.load import load
from tests.envoy.pools import IMPATIENT, running, serves
from tests.processes import Envoy, free_port, until

HEALTHY: Final[Fault] = "none"
IS_FULL: Final[Fault] = "is-full"


async def statuses(envoys: Sequence[Envoy], count: int, text: str = "a text") -> Counter[int]:
    """What comes of so many requests through each Envoy, four at a time."""
    found: Counter[int] = Counter()

    async def work(envoy: Envoy) -> None:
        for _ in range(count // 4):
            found[await envoy.post(POOL, text)] += 1

    async with asyncio.TaskGroup() as group:
        for envoy in envoys:
            for _ in range(4):
                group.create_task(work(envoy))
    return found


@pytest.mark.parametrize(("mebibytes", "count"), [(0, 60), (5, 24)])
async def test_a_request_of_any_length_survives_replicas_that_reset_connections_they_have(
    tmp_path: Path, mebibytes: int, count: int
) -> None:
    faults: tuple[Fault, ...] = ("resets-reused", "resets-reused", "none", "none")
    async with fleet(tmp_path, *faults) as (_, envoys, replicas):
        found = await statuses(envoys, count, "t" * (mebibytes << 20))
        assert found == {200: count}
        assert sum(replica.reached for replica in replicas) > count


async def test_what_a_replica_takes_nothing_of_another_answers(tmp_path: Path) -> None:
    async with fleet(tmp_path, "takes-none", HEALTHY, health_check=IMPATIENT) as (
        _,
        envoys,
        replicas,
    ):
        # Longer than what a kernel takes for a program that does not read.
        text = "t" * (2 << 20)

        async def is_reached() -> bool:
            """Each of Envoy's threads sends to the first or the second."""
            found = await asyncio.gather(*[envoys[0].post(POOL, text) for _ in replicas])
            assert found == [200, 200]
            return replicas[0].reached > 0

        await until("the one that takes nothing had a request", is_reached)


# Of 150 replicas one is less than a percent, and Envoy knows no fraction of one.
@pytest.mark.parametrize(("count", "alive"), [(4, 1), (150, 2)])
async def test_dead_replicas_get_nothing_while_one_is_healthy_and_requests_when_none_is(
    tmp_path: Path, count: int, alive: int
) -> None:
    async with fleet(tmp_path, *[HEALTHY] * count) as (_, (envoy,), replicas):
        for one in replicas[alive:]:
            one.die()
        well = {f"r{number}" for number in range(alive)}

        async def only_these_are_healthy() -> bool:
            return await envoy.healthy(POOL) == well

        async def sent_to_the_dead() -> int:
            hosts = await envoy.hosts(POOL)
            return sum(
                int(stat.get("value", 0))
                for id_, host in hosts.items()
                for stat in host["stats"]
                if id_ not in well and stat["name"] in ("rq_total", "rq_error")
            )

        await until("Envoy has seen who is dead", only_these_are_healthy)

        async def get_nothing() -> bool:
            before, found = await sent_to_the_dead(), await statuses([envoy], 80)
            return found == {200: 80} and await sent_to_the_dead() == before

        # Its threads learn of it a moment later.
        await until("the dead get nothing", get_nothing)
        for one in replicas[:alive]:
            one.fault = "is-ill"

        async def none_is_healthy() -> bool:
            return await envoy.healthy(POOL) == set()

        async def are_reached() -> bool:
            await statuses([envoy], 40)
            return sum(one.reached for one in replicas) > reached

        await until("Envoy takes all for dead", none_is_healthy)
        reached = sum(one.reached for one in replicas)
        await until("requests come all the same", are_reached)


@pytest.mark.parametrize(("count", "killed"), [(3, 1), (8, 1), (4, 3)])
async def test_replicas_that_are_killed_together_take_no_request_with_them(
    tmp_path: Path, count: int, killed: int
) -> None:
    async with fleet(tmp_path, *[HEALTHY] * count) as (_, (envoy,), replicas):
        for one in replicas:
            one.service = 0.05
        async with load(envoy, POOL, workers=4 * count, texts=["t", "t" * (2 << 20)]) as found:
            await until("requests are under way", lambda: _reached(replicas[0].port, envoy))
            for one in replicas[:killed]:
                one.die()
            so_far = found.total()

            async def more() -> bool:
                return found.total() > so_far + 100

            await until("a hundred requests more are answered", more)
        assert set(found) == {200}


async def _reached(port: int, envoy: Envoy) -> bool:
    return any(
        host["address"]["socket_address"]["port_value"] == port
        and any(stat["name"] == "rq_active" and int(stat.get("value", 0)) for stat in host["stats"])
        for host in (await envoy.hosts(POOL)).values()
    )


@pytest.mark.parametrize(
    ("fault", "status", "sidecars"),
    [
        ("refuses", 503, 1),
        ("refuses", 503, 4),
        ("errs", 500, 1),
        ("breaks", 502, 1),
        ("cuts", 503, 1),
    ],
)
async def test_replicas_that_all_fail_get_few_requests_more_than_there_are(
    tmp_path: Path, fault: Fault, status: int, sidecars: int
) -> None:
    async with fleet(tmp_path, *[fault] * 4, sidecars=sidecars) as (_, envoys, replicas):
        assert await statuses(envoys, 40) == {status: 40 * sidecars}
        assert sum(replica.reached for replica in replicas) <= 1.5 * 40 * sidecars


@pytest.mark.parametrize("fault", ["errs", "breaks", "half-broken"])
async def test_what_one_replica_answers_with_an_error_another_answers(
    tmp_path: Path, fault: Fault
) -> None:
    async with fleet(tmp_path, fault, "none", "none", "none") as (_, (envoy,), replicas):
        assert await statuses([envoy], 200) == {200: 200}
        assert replicas[0].reached > 0


async def test_a_request_that_all_replicas_answer_with_an_error_reaches_two(
    tmp_path: Path,
) -> None:
    faults: list[Fault] = ["errs"] * 6
    async with fleet(tmp_path, *faults) as (_, (envoy,), replicas):
        assert await envoy.post(POOL) == 500
        assert sum(replica.reached > 0 for replica in replicas) == 2


@pytest.mark.parametrize("dead", [0, 2])
async def test_a_request_that_ends_replicas_ends_two(tmp_path: Path, dead: int) -> None:
    async with fleet(tmp_path, *[HEALTHY] * 6) as (_, (envoy,), replicas):
        for one in replicas[:dead]:
            one.die()
        assert await envoy.post(POOL, POISON) == 503
        assert sum(replica.is_dead for replica in replicas) == dead + 2
        assert await statuses([envoy], 40) == {200: 40}


async def test_what_a_full_replica_refuses_another_answers(tmp_path: Path) -> None:
    async with fleet(tmp_path, "is-full", "none", "none", "none") as (_, (envoy,), replicas):
        assert await statuses([envoy], 200) == {200: 200}
        # It is the fastest, and would get most of them.
        assert 0 < replicas[0].reached < 50


async def test_what_full_replicas_refuse_while_others_compute_these_answer(tmp_path: Path) -> None:
    async with fleet(tmp_path, *[HEALTHY] * 4) as (_, (envoy,), replicas):
        # Each thread of the Envoy has had answers of all.
        assert await statuses([envoy], 80) == {200: 80}
        for one in replicas:
            one.service, one.reached = 0.3, 0
        for one in replicas[:2]:
            one.fault = IS_FULL
        found = []
        for _ in range(100):
            found.append(asyncio.create_task(envoy.post(POOL)))
            # One after the other, so that each finds these idle; the first good answer comes late.
            await asyncio.sleep(0.002)
        assert set(await asyncio.gather(*found)) == {200}
        assert replicas[0].reached + replicas[1].reached > 20


@pytest.mark.parametrize("length", [2, 3 << 20])
async def test_what_one_replica_cuts_off_another_answers(tmp_path: Path, length: int) -> None:
    async with fleet(tmp_path, "cuts", "none", "none", "none") as (_, (envoy,), replicas):
        for one in replicas:
            one.answer = b"v" * length
        assert await statuses([envoy], 60) == {200: 60}
        assert replicas[0].reached > 0


async def test_a_request_whose_answers_are_all_cut_off_reaches_two(tmp_path: Path) -> None:
    faults: list[Fault] = ["cuts"] * 4
    async with fleet(tmp_path, *faults) as (_, (envoy,), replicas):
        assert await envoy.post(POOL) == 503
        assert sum(replica.reached > 0 for replica in replicas) == 2


async def test_an_answer_that_is_longer_than_what_is_kept_comes_whole(tmp_path: Path) -> None:
    async with fleet(tmp_path, HEALTHY, route={"retry_buffer": "64KiB"}) as (_, (envoy,), (one,)):
        one.answer = b"v" * (3 << 20)
        assert await statuses([envoy], 4) == {200: 4}


async def test_a_hedged_request_that_is_only_slow_is_answered(tmp_path: Path) -> None:
    async with fleet(tmp_path, *[HEALTHY] * 4, route={"hedge": "200ms"}) as (_, (envoy,), replicas):
        for one in replicas:
            one.service = 1.0
        assert await statuses([envoy], 8) == {200: 8}
        assert sum(replica.reached for replica in replicas) <= 4 * 8


async def test_when_all_are_full_the_client_learns_so_and_when_to_come_again(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, *[IS_FULL] * 4) as (_, (envoy,), replicas):
        assert await statuses([envoy], 40) == {429: 40}
        assert sum(replica.reached for replica in replicas) <= 60
        status, headers = await envoy.ask(POOL)
        assert (status, headers["retry-after"]) == (429, "1")
        assert "x-plimsoll-retry" not in headers


async def test_an_envoy_that_runs_out_of_memory_refuses_requests(tmp_path: Path) -> None:
    most = 128 << 20
    async with fleet(tmp_path, HEALTHY) as (plane, _, replicas):
        replicas[0].service = 3.0
        at = free_port()
        data = bootstrap(
            "small",
            plane.xds,
            admin_port=free_port(),
            listen={POOL: Address("127.0.0.1", at)},
            max_heap=most,
        )
        async with running(tmp_path, data, at, POOL) as envoy:
            await until("it serves", lambda: serves(envoy, POOL))
            found, held = list[asyncio.Task[int]](), list[int]()
            for _ in range(32):
                found.append(asyncio.create_task(envoy.post(POOL, "t" * (8 << 20))))
                # As requests come, and not all before Envoy looks at its memory again.
                await asyncio.sleep(0.1)
                held.append(int((await envoy.admin("/memory"))["allocated"]))
            assert set(await asyncio.gather(*found)) == {200, 503}
            # Bodies that come between two looks may exceed it; all of them would be twice as much.
            assert most // 2 < max(held) < 1.25 * most
            await until("it serves again", lambda: serves(envoy, POOL))
