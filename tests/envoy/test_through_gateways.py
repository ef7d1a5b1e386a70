"""A class that goes through a gateway, with real Envoys: what takes the way, and what is lost."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from controlplane.telemetry.load import Endpoint
from tests.envoy.load import load
from tests.envoy.pools import IMPATIENT
from tests.envoy.test_classes import JOB, JOBS, OF_JOBS, POOL, Sink, Stage, stage
from tests.processes import Envoy, free_port, started_envoy, until

OF_CLASS = f"cluster.{POOL}_{JOBS}"
THROUGH, AGAIN = f"{OF_CLASS}/gateways.upstream_rq_total", f"{OF_CLASS}/retries.upstream_rq_total"


@asynccontextmanager
async def staged(folder: Path, **options: Any) -> AsyncIterator[tuple[Stage, Address]]:
    """Four replicas, of which two are for jobs, and a sidecar; where the gateway is to be."""
    where = Address("127.0.0.1", free_port())
    match = OF_JOBS.model_dump(mode="json", exclude_none=True)
    named = {"name": JOBS, "match": match, "via": [str(where)]}
    async with stage(folder, health_check=IMPATIENT, classes=[named], **options) as here:
        await here.parted("r0 r1")
        yield here, where


@asynccontextmanager
async def gateway(folder: Path, here: Stage, where: Address) -> AsyncIterator[Envoy]:
    """Run the gateway, from when jobs go through it."""
    data = bootstrap("gateway", here.plane.address, admin_port=free_port(), gateway=where)
    async with started_envoy(folder, "gateway", data, {POOL: where.port}) as envoy:
        await until("jobs go through the gateway", lambda: is_used(here))
        yield envoy


async def is_used(here: Stage) -> bool:
    """Whether a job that is sent now takes the way through the gateway."""
    before = await here.envoy.stat(THROUGH)
    assert await here.envoy.post(POOL, headers=JOB) == 200
    return await here.envoy.stat(THROUGH) > before


async def test_jobs_go_through_the_gateway_alone_and_count_once(tmp_path: Path) -> None:
    sink = Sink()
    async with (
        staged(tmp_path, loads=sink) as (here, where),
        gateway(tmp_path, here, where) as through,
    ):
        addresses = [Endpoint(POOL, "127.0.0.1", each.port) for each in here.replicas]

        def reported() -> float:
            return sum((sink.reports.ended(at) or (0, 0))[0] for at in addresses)

        def sent() -> int:
            return sum(each.started for each in here.replicas)

        async def settled() -> float:
            """What is reported once nothing has been added for some reports of each Envoy."""
            known, times = reported(), 0
            while times < 4:
                await sink.everything()
                times = times + 1 if reported() == known else 0
                known = reported()
            return known

        reported_before = await settled()
        before = [await each.stat(THROUGH) for each in (here.envoy, through)], sent()
        assert (await here.served(40, headers=JOB)).keys() == {"r0", "r1"}
        assert (await here.served(20)).keys() == {"r2", "r3"}
        after = [await each.stat(THROUGH) for each in (here.envoy, through)], sent()
        # The gateway has no such cluster: it sends to replicas alone.
        assert (before[0][1], after[0][1]) == (0, 0)
        assert after[0][0] - before[0][0] == 40
        assert after[1] - before[1] == 60
        # A sidecar's first try is the gateway's first, too.
        assert [await each.stat(AGAIN) for each in (here.envoy, through)] == [0, 0]

        async def all_is_reported() -> bool:
            return reported() - reported_before >= 60

        await until("what was sent is reported", all_is_reported)
        assert await settled() - reported_before == 60
        assert Endpoint(POOL, where.host, where.port) not in sink.reports.endpoints()


async def test_a_gateway_that_is_killed_under_load_loses_nothing_and_is_used_again(
    tmp_path: Path,
) -> None:
    async with staged(tmp_path) as (here, where):
        for each in here.replicas:
            each.service = 0.02
        async with load(here.envoy, POOL, headers=JOB) as jobs, load(here.envoy, POOL) as others:
            async with gateway(tmp_path, here, where) as through:
                assert through.pid is not None
                os.kill(through.pid, signal.SIGKILL)

                async def is_unused() -> bool:
                    before, then = await here.envoy.stat(THROUGH), jobs.total()

                    async def go_on() -> bool:
                        return jobs.total() > then + 20

                    await until("jobs go on", go_on)
                    return await here.envoy.stat(THROUGH) == before

                await until("jobs go straight to the replicas", is_unused)
            async with gateway(tmp_path, here, where):
                pass
        assert (set(jobs), set(others)) == ({200}, {200})


async def test_a_request_that_ends_replicas_ends_two_though_two_envoys_try(tmp_path: Path) -> None:
    async with staged(tmp_path) as (here, where), gateway(tmp_path, here, where):
        for each in here.replicas:
            each.cuts_off = True
        begun = sum(each.started for each in here.replicas)
        assert await here.envoy.post(POOL, headers=JOB) == 503
        assert sum(each.started for each in here.replicas) - begun == 2
        assert await here.envoy.stat(AGAIN) == 0


async def test_what_a_gateway_tried_in_vain_its_sidecar_does_not_try_again(tmp_path: Path) -> None:
    async with staged(tmp_path) as (here, where), gateway(tmp_path, here, where):
        for each in here.replicas:
            each.fails_every = 1
        begun = sum(each.started for each in here.replicas)
        for _ in range(40):
            status, headers = await here.envoy.ask(POOL, headers=JOB)
            assert status == 500
            assert "x-plimsoll-tried" not in headers
        assert sum(each.started for each in here.replicas) - begun <= 1.5 * 40
        assert await here.envoy.stat(AGAIN) == 0
