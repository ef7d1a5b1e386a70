"""``plimsoll load`` through a real Envoy: shares, and the replica or hop that holds it up."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any, Final, Self

import pytest

from tests.envoy.test_steering import POOL, plane_and_envoy
from tests.processes import Envoy, Plimsoll, run, until
from tests.replica import replica

TRIES: Final = 10
"""Loads, at most, of which all but the last were held up by the machine: see `Watched`."""

STALL: Final = 0.1
"""Seconds; no other work in this process takes as long."""


class Watched:
    """Whether the machine stood still meanwhile, which holds up a load or all of its hops alike.

    What a load found in such a time says nothing; what it found in any other must be right.
    """

    def __init__(self) -> None:
        self.stood_still = False

    async def __aenter__(self) -> Self:
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(0.01)
            self.stood_still |= clock() - before > STALL


async def loaded(plane: Plimsoll, envoy: Envoy, *options: str) -> Any:
    """What it says in the end, with everybody who can tell something."""
    target = f"http://127.0.0.1:{envoy.listeners[POOL]}/v1/embeddings"
    sources = ("--admin", f"http://{plane.admin}", "--envoy-admin", envoy.admin_url)
    code, out, errors = await run("load", target, *sources, *options, "--json")
    assert code == 0, errors
    return json.loads(out)


def culprits(answer: Any) -> list[tuple[str, str | None]]:
    """Whom it names, but for the generator, which other work on this machine may hold up."""
    found = answer["bottleneck"]["findings"]
    return [(each["where"], each["name"]) for each in found if each["where"] != "generator"]


def was_late(answer: Any) -> bool:
    """Tell whether the load generator names itself, so that what it measured says nothing."""
    return any(each["where"] == "generator" for each in answer["bottleneck"]["findings"])


async def test_the_slow_one_of_two_replicas_is_named_and_shares_are_what_they_served(
    tmp_path: Path,
) -> None:
    async with (
        replica(service=0.002) as fast,
        replica(service=0.1) as slow,
        plane_and_envoy(tmp_path, {"fast": fast, "slow": slow}) as (plane, envoy),
    ):
        # A machine that stands still for a tenth of a second delays less than 1 % of so many.
        options = ("--rate", "20", "--duration", "12s", "--warmup", "0s")
        for _ in range(TRIES):
            before = {"fast": fast.served, "slow": slow.served}
            async with Watched() as machine:
                answer = await loaded(plane, envoy, *options)
            (step,) = answer["steps"]
            assert step["failed"] == 0
            replicas = {item["id"]: item for item in step["replicas"]}
            means = [replicas[name]["latency_mean_ms"] for name in ("fast", "slow")]
            found = culprits(answer)[0] == ("replica", "slow") and means[1] > 3 * means[0]
            if found or not (machine.stood_still or was_late(answer)):
                break
        served = {"fast": fast.served - before["fast"], "slow": slow.served - before["slow"]}
    for name, count in served.items():
        share = count / sum(served.values())
        assert replicas[name]["share"] == pytest.approx(share, abs=0.1)
    assert means[1] > 3 * means[0]
    assert replicas["fast"]["capacity"] > replicas["slow"]["capacity"]
    assert culprits(answer)[0] == ("replica", "slow")
    # Envoy told how long it waited, and its own histograms agree that there were requests.
    assert step["upstream_ms"]["p99"] > step["hop_ms"]["p50"]
    assert answer["envoys"][0]["downstream_ms_at_most"]["p99"] >= 100


async def test_an_envoy_that_stands_still_is_told_from_slow_replicas(tmp_path: Path) -> None:
    async with (
        replica(service=0.002) as a,
        replica(service=0.002) as b,
        plane_and_envoy(tmp_path, {"a": a, "b": b}) as (plane, envoy),
    ):
        options = ("--rate", "40", "--duration", "5s", "--warmup", "0s")
        for _ in range(TRIES):
            seen = a.served + b.served
            async with Watched() as machine:
                loading = asyncio.create_task(loaded(plane, envoy, *options))

                async def has_served(seen: int = seen) -> bool:
                    return a.served + b.served > seen + 20

                await until("it is sending", has_served)
                assert envoy.pid is not None
                os.kill(envoy.pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(1.0)
                finally:
                    os.kill(envoy.pid, signal.SIGCONT)
                answer = await loading
            found = culprits(answer)[0] == ("proxy", None)
            if found or not (machine.stood_still or was_late(answer)):
                break
    assert culprits(answer)[0] == ("proxy", None)
    assert answer["steps"][0]["hop_ms"]["p99"] > answer["steps"][0]["upstream_ms"]["p99"]


async def test_a_staircase_finds_the_rate_that_one_slot_can_carry(tmp_path: Path) -> None:
    # 20 requests/s at most; at 36 the queue grows by 16 each second.
    async with (
        replica(service=0.05) as only,
        plane_and_envoy(tmp_path, {"only": only}) as (plane, envoy),
    ):
        options = ("--rate", "4:36", "--steps", "3", "--duration", "3s", "--warmup", "1s")
        for _ in range(TRIES):
            limits = ("--objective", "2s", "--timeout", "10s")
            async with Watched() as machine:
                answer = await loaded(plane, envoy, *options, *limits)
            known = answer["capacity"]["known"] == "between"
            found = known and answer["capacity"]["missed_rps"] > 20
            if found or not (machine.stood_still or was_late(answer)):
                break
    assert answer["capacity"]["known"] == "between"
    assert answer["capacity"]["rate_rps"] < 20 < answer["capacity"]["missed_rps"]
    assert culprits(answer)[0][0] in ("fleet", "replica", "requests")
