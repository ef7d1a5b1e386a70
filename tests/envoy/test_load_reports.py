"""A real Envoy reports what it has in flight at each replica."""

import asyncio
from pathlib import Path

from tests.envoy.test_steering import POOL, plane_and_envoy
from tests.processes import until
from tests.replica import replica


async def test_requests_in_flight_are_known_while_the_replica_has_not_answered(
    tmp_path: Path,
) -> None:
    async with replica() as a, plane_and_envoy(tmp_path, {"a": a}) as (plane, envoy):

        async def in_flight() -> float | None:
            found = await plane.get(f"/v1/pools/{POOL}/replicas/a")
            value = found["in_flight"]
            assert value is None or isinstance(value, float)
            return value

        async def is_idle() -> bool:
            # An Envoy says nothing of a replica that it has never sent anything to.
            assert await envoy.post(POOL) == 200
            return await in_flight() == 0

        async def has_three() -> bool:
            return await in_flight() == 3

        await until("the Envoy reports", is_idle)
        a.service = 60.0
        async with asyncio.TaskGroup() as group:
            sent = [group.create_task(envoy.post(POOL)) for _ in range(3)]
            await until("three requests are in flight", has_three)
            for task in sent:
                task.cancel()

        async def are_gone() -> bool:
            return await in_flight() == 0

        await until("they are gone", are_gone)
