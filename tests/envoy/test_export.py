"""A real Envoy that no control plane serves: all that it knows is in files."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from tests.envoy.load import load
from tests.envoy.policies import POOL, answering, balanced
from tests.envoy.pools import BRIEF, pool_of, running, serves
from tests.processes import Envoy, free_port, until
from tests.replica import replica


async def export(folder: Path, *options: str) -> None:
    arguments = ["export", "--node", "n", str(folder), *options]
    ran = await asyncio.to_thread(CliRunner().invoke, plimsoll, arguments)
    assert ran.exit_code == 0, ran.output


def weights_in(exported: Path) -> dict[str, int]:
    found = json.loads((exported / "xds" / "current" / "eds" / f"{POOL}.json").read_text())
    return {
        lbEndpoint["endpoint"]["hostname"]: lbEndpoint["loadBalancingWeight"]
        for locality in found["resources"][0]["endpoints"]
        for lbEndpoint in locality["lbEndpoints"]
    }


@asynccontextmanager
async def started(tmp_path: Path, exported: Path, port: int) -> AsyncIterator[Envoy]:
    """An Envoy with the bootstrap of an export."""
    data = yaml.safe_load((exported / "envoy.yaml").read_text())
    assert "ads_config" not in data["dynamic_resources"]
    async with running(tmp_path, data, port, POOL) as envoy:
        await until("Envoy serves the pool", lambda: serves(envoy, POOL))
        yield envoy


async def test_requests_are_shared_as_the_control_plane_said_at_the_export(tmp_path: Path) -> None:
    exported, port = tmp_path / "exported", free_port()
    async with balanced(tmp_path, "weighted-least-request", 2, health_check=BRIEF) as (
        plane,
        envoy,
        replicas,
    ):
        replicas["r0"].service, replicas["r1"].service = 0.004, 0.016

        async def are_told_apart() -> bool:
            hosts = await envoy.hosts(POOL)
            return bool(hosts["r0"]["weight"] > 2 * hosts["r1"]["weight"])

        async with load(envoy, POOL):
            await until("weights follow what was measured", are_told_apart)
        moved = f"{POOL}=127.0.0.1:{port}"
        options = ("--url", f"http://{plane.admin}", "--admin-port", str(free_port()))

        async def is_known() -> bool:
            """For so long a control plane with an empty registry is not sure."""
            return await plane.call("POST", "/v1/resources", {}) == 200

        await until("the control plane knows its replicas well enough", is_known)
        await export(exported, "--listen", moved, *options)
        plane.kill()
        await plane.ended()
        said = weights_in(exported)
        assert said["r0"] > 1.5 * said["r1"]
        async with started(tmp_path, exported, port) as alone:

            async def has_both() -> bool:
                return await alone.healthy(POOL) == {*replicas}

            await until("Envoy has both", has_both)
            turns = Counter([await answering(alone, replicas) for _ in range(200)])
    for id_, weight in said.items():
        assert turns[id_] / 200 == pytest.approx(weight / sum(said.values()), abs=0.02)


async def test_a_further_export_takes_effect_without_a_failed_request(tmp_path: Path) -> None:
    exported, config, port = tmp_path / "exported", tmp_path / "p.yaml", free_port()
    options = ["--config", str(config), "--gateway", f"127.0.0.1:{port}"]
    options += ["--admin-port", str(free_port())]

    async def export_of(pools: Sequence[dict[str, Any]]) -> None:
        config.write_text(yaml.safe_dump({"pools": pools}))
        await export(exported, *options)

    async with replica() as a, replica() as b, replica() as c:
        p = pool_of(POOL, a, b, health_check=dict(BRIEF))
        q = pool_of("q", c, health_check=dict(BRIEF))
        await export_of([p])
        data = yaml.safe_load((exported / "envoy.yaml").read_text())
        async with running(tmp_path, data, port, POOL) as envoy:

            async def asks(pool: str) -> int:
                return await envoy.post(POOL, headers={"x-plimsoll-pool": pool})

            async def is_served() -> bool:
                return await asks(POOL) == 200

            await until("Envoy serves the pool", is_served)
            # A cluster is not there before its replicas were checked.
            c.answers_health.clear()
            seen = list[int]()
            async with load(envoy, POOL, headers={"x-plimsoll-pool": POOL}) as statuses:
                exporting = asyncio.create_task(
                    export_of([pool_of(POOL, b, health_check=dict(BRIEF)), q])
                )

                async def is_warming() -> bool:
                    seen.append(await asks("q"))
                    return await envoy.stat("cluster_manager.warming_clusters") > 0

                await until("the new cluster warms", is_warming)
                seen += [await asks("q") for _ in range(5)]
                c.answers_health.set()
                await exporting

                async def has_both() -> bool:
                    seen.append(await asks("q"))
                    return seen[-1] == 200 and {*await envoy.hosts(POOL)} == {"r0"}

                await until("Envoy has what the second export says", has_both)
                await export_of([p])

                async def has_one() -> bool:
                    return "q" not in await envoy.clusters() and await asks("q") == 404

                await until("Envoy has what the third export says", has_one)
            assert {*statuses} == {200}, statuses
            # No route leads to a cluster that is not ready.
            assert {*seen} == {404, 200}
