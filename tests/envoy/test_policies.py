"""Every balancing policy with a real Envoy: that it does what its name says."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from controlplane.config import Policy
from tests.envoy.load import load
from tests.envoy.policies import POOL, answering, balanced, becomes_hashed
from tests.processes import Envoy, until
from tests.replica import FakeReplica

HASHING: tuple[Policy, ...] = ("ring-hash", "maglev")
USERS = [f"user-{number}" for number in range(60)]


async def weights(envoy: Envoy) -> dict[str, int]:
    """Those that Envoy goes by."""
    return {id_: host["weight"] for id_, host in (await envoy.hosts(POOL)).items()}


async def by_user(
    envoy: Envoy, replicas: Mapping[str, FakeReplica], header: str = "x-user"
) -> dict[str, str]:
    """The replica that answers each user."""
    return {user: await answering(envoy, replicas, {header: user}) for user in USERS}


async def test_round_robin_goes_from_one_to_the_next(tmp_path: Path) -> None:
    async with balanced(tmp_path, "round-robin", 3) as (_, envoy, replicas):
        turns = [await answering(envoy, replicas) for _ in range(60)]
        assert {*turns[:3]} == {*replicas}
        assert turns == turns[:3] * 20
        assert len({*(await weights(envoy)).values()}) == 1


async def test_least_request_leaves_out_whoever_has_one_more_than_the_others(
    tmp_path: Path,
) -> None:
    async with balanced(tmp_path, "least-request", 3) as (_, envoy, replicas):
        busy = replicas["r1"]
        busy.answers.clear()
        waiting = []
        while busy.started == busy.served:
            waiting.append(asyncio.create_task(envoy.post(POOL)))
            await asyncio.sleep(0.02)
        assert "r1" not in [await answering(envoy, replicas) for _ in range(50)]
        busy.answers.set()
        assert {*await asyncio.gather(*waiting)} == {200}


async def test_weighted_least_request_divides_as_the_weights_say(tmp_path: Path) -> None:
    async with balanced(tmp_path, "weighted-least-request", 3) as (plane, envoy, replicas):
        for id_, seconds in {"r0": 0.004, "r1": 0.012, "r2": 0.036}.items():
            replicas[id_].service = seconds

        async def given() -> dict[str, int]:
            found = (await plane.get(f"/v1/pools/{POOL}/replicas"))["replicas"]
            return {item["id"]: item["weight"] for item in found}

        async def are_told_apart() -> bool:
            seen = await weights(envoy)
            return seen == await given() and seen["r0"] > 1.5 * seen["r1"] > 2 * seen["r2"]

        async with load(envoy, POOL):
            await until("weights follow what was measured", are_told_apart)
        for _ in range(20):
            before = await weights(envoy)
            turns = Counter([await answering(envoy, replicas) for _ in range(200)])
            if before == await weights(envoy):
                break
        else:
            raise AssertionError("the weights never stood still for 200 requests")
        # One after the other nothing is in flight, and Envoy's schedule follows weights closely.
        for id_, weight in before.items():
            assert turns[id_] / 200 == pytest.approx(weight / sum(before.values()), abs=0.02)
        hosts = (await envoy.hosts(POOL)).values()
        assert {host["locality"].get("sub_zone", "") for host in hosts} == {""}


async def test_a_replica_that_reports_more_utilisation_or_errors_gets_less(tmp_path: Path) -> None:
    policy: Policy = "client-side-weighted-round-robin"
    async with balanced(tmp_path, policy, 3) as (_, envoy, replicas):
        assert len({*(await weights(envoy)).values()}) == 1
        for id_, used, errors in (("r0", 0.2, 0), ("r1", 0.8, 0), ("r2", 0.2, 60)):
            replicas[id_].report = f"application_utilization={used},rps_fractional=100,eps={errors}"

        async def are_weighed() -> bool:
            return await weights(envoy) == {"r0": 500, "r1": 125, "r2": 125}

        async with load(envoy, POOL):
            # Envoy takes a replica's reports for ten seconds before it goes by them.
            await until("Envoy weighs by the reports", are_weighed)
        turns = Counter([await answering(envoy, replicas) for _ in range(200)])
        assert turns["r0"] / 200 == pytest.approx(500 / 750, abs=0.02)


@pytest.mark.parametrize("policy", HASHING)
async def test_the_same_header_reaches_the_same_replica_and_most_stay_when_one_leaves(
    tmp_path: Path, policy: Policy
) -> None:
    async with balanced(tmp_path, policy, 4) as (plane, envoy, replicas):
        await becomes_hashed(envoy)
        first = await by_user(envoy, replicas)
        assert {*first.values()} == {*replicas}
        assert await by_user(envoy, replicas) == first
        assert await plane.call("POST", f"/v1/pools/{POOL}/replicas/r3/drain") == 200

        async def is_out() -> bool:
            return "r3" not in await envoy.healthy(POOL)

        await until("Envoy knows that r3 drains", is_out)
        left = await by_user(envoy, replicas)
        assert "r3" not in left.values()
        stayed = [left[user] == found for user, found in first.items() if found != "r3"]
        # Envoy gives the places of one that leaves to the others anew: a seventh of theirs moves.
        assert sum(stayed) >= (0.6 if policy == "ring-hash" else 0.9) * len(stayed)
        assert await plane.call("POST", f"/v1/pools/{POOL}/replicas/r3/undrain") == 200

        async def is_back() -> bool:
            return "r3" in await envoy.healthy(POOL)

        await until("Envoy knows that r3 is back", is_back)
        assert await by_user(envoy, replicas) == first


@pytest.mark.parametrize("policy", HASHING)
async def test_without_the_header_a_request_goes_to_any_replica(
    tmp_path: Path, policy: Policy
) -> None:
    async with balanced(tmp_path, policy, 3) as (_, envoy, replicas):
        await becomes_hashed(envoy)
        assert {await answering(envoy, replicas) for _ in range(60)} == {*replicas}


async def test_a_cookie_that_envoy_gives_brings_a_client_back(tmp_path: Path) -> None:
    hashed = {"cookie": "replica", "ttl": "1h"}
    async with balanced(tmp_path, "ring-hash", 3, hash=hashed) as (_, envoy, replicas):
        await becomes_hashed(envoy)
        status, headers = await envoy.ask(POOL)
        name, _, rest = headers["set-cookie"].partition("=")
        value, *attributes = rest.split(";")
        assert (status, name) == (200, "replica")
        assert "Max-Age=3600" in [attribute.strip() for attribute in attributes]
        cookie = {"cookie": f"replica={value}"}
        first = headers["x-replica"]
        again = {await answering(envoy, replicas, cookie) for _ in range(20)}
        assert [replicas[id_].address for id_ in again] == [first]
        users = [{"cookie": f"replica={user}"} for user in USERS]
        assert {await answering(envoy, replicas, user) for user in users} == {*replicas}


async def test_requests_from_one_address_stay_together(tmp_path: Path) -> None:
    hashed = {"source_address": True}
    behind = balanced(tmp_path, "maglev", 3, trusted_proxies=1, hash=hashed)
    async with behind as (_, envoy, replicas):
        await becomes_hashed(envoy)
        assert len({await answering(envoy, replicas) for _ in range(30)}) == 1
        # As a proxy in front of this one would name its clients.
        others = [{"x-forwarded-for": f"10.0.0.{number}"} for number in range(60)]
        assert {await answering(envoy, replicas, other) for other in others} == {*replicas}


@pytest.mark.parametrize("policy", ["capacity-tiers", "client-side-weighted-round-robin", "maglev"])
async def test_a_drained_replica_finishes_what_it_has_and_gets_nothing_new(
    tmp_path: Path, policy: Policy
) -> None:
    async with balanced(tmp_path, policy, 3) as (plane, envoy, replicas):
        leaving = replicas["r1"]
        leaving.answers.clear()
        waiting = []
        for user in USERS:
            waiting.append(asyncio.create_task(envoy.post(POOL, headers={"x-user": user})))
            await asyncio.sleep(0.01)

        async def has_some() -> bool:
            return leaving.started > leaving.served

        async def gets_nothing_new() -> bool:
            last = leaving.started
            for user in USERS:
                asked = asyncio.create_task(envoy.post(POOL, headers={"x-user": user}))
                waiting.append(asked)
                while not asked.done():
                    if leaving.started > last:
                        return False
                    await asyncio.sleep(0.005)
            return True

        await until("it has requests", has_some)
        assert await plane.call("POST", f"/v1/pools/{POOL}/replicas/r1/drain") == 200
        await until("it gets nothing new", gets_nothing_new)
        assert leaving.started > leaving.served
        leaving.answers.set()
        assert {*await asyncio.gather(*waiting)} == {200}
