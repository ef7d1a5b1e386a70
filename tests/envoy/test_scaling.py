"""A real Envoy wakes an empty pool, and KEDA is told."""

import asyncio
import contextlib
from pathlib import Path

import grpc

from tests.envoy.pools import pool, pool_of, put, serves
from tests.features.keda import keda
from tests.processes import DEADLINE, serving, sidecar, until
from tests.replica import replica


async def test_the_first_request_for_a_pool_without_replicas_makes_it_active(
    tmp_path: Path,
) -> None:
    entry = pool("m", {}, scaling={"min_replicas": 0, "scale_down_after": "3s"})
    async with (
        replica() as target,
        serving(tmp_path, [entry]) as plane,
        sidecar(tmp_path, plane.xds, ["m"]) as envoy,
        keda(plane.xds, pool="m") as client,
    ):

        async def sleeps() -> bool:
            # Nobody is answered before something is known.
            with contextlib.suppress(grpc.aio.AioRpcError):
                return not await client.is_active()
            return False

        async def reports() -> bool:
            return await envoy.stat("load_reporter.requests") > 0

        await until("Envoy was asked to report load", reports)
        await until("nothing has come for a while", sleeps)
        activity = client.activity()
        assert await anext(activity) is False
        assert (await client.metrics("replicas")).metricValues[0].metricValue == 0
        assert await envoy.post("m") == 503
        assert await asyncio.wait_for(anext(activity), DEADLINE) is True
        assert (await client.metrics("replicas")).metricValues[0].metricValue == 1
        await put(plane, pool_of("m", target) | {"scaling": entry["scaling"]})
        await until("the replica that came serves", lambda: serves(envoy, "m"))
