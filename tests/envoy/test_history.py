"""``plimsoll explain`` of a real fleet under load: the readings now, and when and why they fell."""

import json
from pathlib import Path
from typing import Any

from tests.envoy.load import load
from tests.envoy.test_steering import POOL, plane_and_envoy, serves_on
from tests.processes import Plimsoll, run, until
from tests.replica import replica


async def explained(plane: Plimsoll, *options: str) -> str:
    url = ("--url", f"http://{plane.admin}")
    code, output, _ = await run("explain", POOL, *options, *url)
    assert code == 0
    return output


async def entries(plane: Plimsoll, id_: str) -> Any:
    return (await plane.get(f"/v1/pools/{POOL}/replicas/{id_}/history"))["entries"]


async def test_when_and_why_the_share_of_a_slowed_replica_fell_can_be_read_afterwards(
    tmp_path: Path,
) -> None:
    async with (
        replica(service=0.005) as a,
        replica(service=0.005) as b,
        plane_and_envoy(tmp_path, {"a": a, "b": b}) as (plane, envoy),
        load(envoy, POOL),
    ):
        await serves_on(a)
        before = (await entries(plane, "a"))[-1]
        a.service = 0.1

        async def has_fallen() -> bool:
            return bool((await entries(plane, "a"))[-1]["share"] < 0.3)

        await until("the share has fallen", has_fallen)
        text = await explained(plane, "--replica", "a", "--history", "--since", "10m")
        answer = await explained(plane, "--replica", "a", "--history", "--json")
        now = await explained(plane)
    later = [
        entry
        for entry in json.loads(answer)["histories"][0]["entries"]
        if entry["at"] > before["at"]
    ]
    fell = [
        said for each in later for said in each["changes"] if said.startswith("its share fell: ")
    ]
    assert fell
    assert any("because" in said for said in fell)
    assert any(said in text for said in fell)
    assert later[-1]["readings"]["latency_mean_ms"] > 5
    assert all(item["steps"] and item["why"] for item in later)
    assert "  readings, " in now
    assert "p99 " in now
