"""A pool's policy changes while requests go on, and none of them fails."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from controlplane.config import Policy
from tests.envoy.load import load
from tests.envoy.policies import (
    BALANCING,
    POOL,
    balanced,
    balancing,
    becomes,
    becomes_hashed,
)
from tests.envoy.pools import IMPATIENT
from tests.processes import Envoy, Plimsoll, until

ROUND: tuple[Policy, ...] = (
    *[item for item in BALANCING if item != "capacity-tiers"],
    "capacity-tiers",
)
"""Through all and back to the first."""
SOME: tuple[Policy, ...] = ("round-robin", "ring-hash", "capacity-tiers")
"""Each takes another cluster, and the second another route."""


async def put(plane: Plimsoll, policy: Policy) -> None:
    """Change a pool's policy as an operator does: what the API shows, with another policy."""
    shown: dict[str, Any] = await plane.get(f"/v1/pools/{POOL}")
    keys = ("model", "listener", "route", "health_check", "metrics", "memory", "objective")
    body = {key: shown[key] for key in keys} | {"balancing": balancing(policy)}
    assert await plane.call("PUT", f"/v1/pools/{POOL}", body) == 200
    assert (await plane.get(f"/v1/pools/{POOL}"))["balancing"]["policy"] == policy


async def goes_on(statuses: Counter[int]) -> None:
    """Wait until a hundred requests more were answered, or not."""
    seen = statuses.total()

    async def has_gone_on() -> bool:
        return statuses.total() > seen + 100

    await until("requests go on", has_gone_on)


async def has_waited_in_vain(envoy: Envoy) -> int:
    """How often Envoy gave up to wait for endpoints, which it does after 15 s."""
    return await envoy.stat(rf"cluster\.{POOL}\.init_fetch_timeout")


async def test_a_policy_after_the_other_and_no_request_fails(tmp_path: Path) -> None:
    async with (
        balanced(tmp_path, "capacity-tiers", 3, "state-of-the-world") as (plane, envoy, replicas),
        load(envoy, POOL) as statuses,
    ):
        for policy in ROUND:
            await put(plane, policy)
            await becomes(envoy, policy)
            if BALANCING[policy]:
                await becomes_hashed(envoy)
            served = {id_: replica.served for id_, replica in replicas.items()}
            await goes_on(statuses)
            assert all(replica.served > served[id_] for id_, replica in replicas.items()), policy
        assert await has_waited_in_vain(envoy) == 0
        assert set(statuses) == {200}


async def test_policies_that_change_faster_than_envoy_can_follow_lose_nothing(
    tmp_path: Path,
) -> None:
    async with (
        balanced(tmp_path, "capacity-tiers", 3) as (plane, envoy, _),
        load(envoy, POOL) as statuses,
    ):
        for policy in ROUND * 3:
            await put(plane, policy)
        await becomes(envoy, ROUND[-1])
        await goes_on(statuses)
        assert set(statuses) == {200}


@pytest.mark.parametrize("silent", [("r1",), ("r0", "r1", "r2")])
async def test_replicas_that_answer_no_health_check_just_then_lose_no_request(
    tmp_path: Path, silent: tuple[str, ...]
) -> None:
    async with (
        balanced(tmp_path, "capacity-tiers", 3, health_check=IMPATIENT) as (plane, envoy, replicas),
        load(envoy, POOL) as statuses,
    ):
        for policy in SOME:
            for id_ in silent:
                replicas[id_].answers_health.clear()
            await put(plane, policy)
            await becomes(envoy, policy)
            await goes_on(statuses)
            for id_ in silent:
                replicas[id_].answers_health.set()

            async def are_back() -> bool:
                return await envoy.healthy(POOL) == {*replicas}

            await until("all are healthy again", are_back)
            await goes_on(statuses)
        assert await has_waited_in_vain(envoy) == 0
        assert set(statuses) == {200}


async def test_what_a_pool_has_in_flight_is_answered_by_the_cluster_that_it_had(
    tmp_path: Path,
) -> None:
    async with balanced(tmp_path, "least-request", 2) as (plane, envoy, replicas):
        for item in replicas.values():
            item.answers.clear()
        waiting = [asyncio.create_task(envoy.post(POOL)) for _ in range(6)]

        async def have_all() -> bool:
            return sum(replica.started - replica.served for replica in replicas.values()) == 6

        await until("six requests are in flight", have_all)
        started = {id_: replica.started for id_, replica in replicas.items()}
        await put(plane, "round-robin")
        await becomes(envoy, "round-robin")
        for item in replicas.values():
            item.answers.set()
        assert {*await asyncio.gather(*waiting)} == {200}
        # None was sent a second time.
        assert {id_: replica.started for id_, replica in replicas.items()} == started
