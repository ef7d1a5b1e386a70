"""Replicas that fail in part, that cut their answers off, or that hang, behind real Envoys."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.load import load
from tests.envoy.pools import IMPATIENT, pool_of
from tests.processes import Envoy, Plimsoll, serving, sidecar, until
from tests.replica import FakeReplica, replica


@asynccontextmanager
async def pool(
    folder: Path, count: int, sidecars: int = 1, **settings: Any
) -> AsyncIterator[tuple[Plimsoll, list[Envoy], list[FakeReplica]]]:
    """A pool `p` of so many replicas, and Envoys that have all of them."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(replica()) for _ in range(count)]
        plane = await stack.enter_async_context(serving(folder, [pool_of("p", *fakes, **settings)]))
        envoys = [
            await stack.enter_async_context(sidecar(folder, plane.xds, ["p"], f"sidecar-{i}"))
            for i in range(sidecars)
        ]

        async def have_all() -> bool:
            found = [await envoy.healthy("p") for envoy in envoys]
            return all(len(item) == count for item in found) and all(
                [await envoy.post("p") == 200 for envoy in envoys]
            )

        await until("all Envoys have all replicas", have_all)
        yield plane, envoys, fakes


@pytest.mark.parametrize("how", ["fails_every", "cuts_off"])
async def test_a_replica_that_fails_every_second_request_is_left_out_of_every_sidecar(
    tmp_path: Path, how: str
) -> None:
    async with (
        pool(tmp_path, 4, sidecars=3) as (_, envoys, replicas),
        AsyncExitStack() as stack,
    ):
        # A sidecar sends a replica two requests a second: too few to judge it by. One that is slow
        # to answer must not make them fewer.
        loads = [
            await stack.enter_async_context(load(envoy, "p", workers=16, rate=10))
            for envoy in envoys
        ]
        bad, *good = replicas
        setattr(bad, how, 2)

        async def is_left_out() -> bool:
            # By chance one of them may have seen enough to eject it by itself.
            hosts = [(await envoy.hosts("p"))["r0"]["health_status"] for envoy in envoys]
            return all(
                host["eds_health_status"] == "DRAINING" or host.get("failed_outlier_check", False)
                for host in hosts
            )

        async def gets_nothing() -> bool:
            """Whether it does while the others serve; an ejection may be over meanwhile."""
            if not await is_left_out():
                return False
            sent, begun, failed = bad.started, sum(each.served for each in good), failures(loads)

            async def do_others_serve() -> bool:
                return sum(item.served for item in good) >= begun + 20

            await until("the others serve", do_others_serve)
            return (bad.started, failures(loads)) == (sent, failed)

        await until("all sidecars leave it out, and the others serve", gets_nothing)


def failures(loads: list[Any]) -> int:
    """Requests that were not answered well."""
    return sum(count for item in loads for status, count in item.items() if status != 200)


@pytest.mark.parametrize("how", ["fails_every", "cuts_off"])
async def test_one_envoy_that_sees_enough_ejects_a_replica_by_itself(
    tmp_path: Path, how: str
) -> None:
    async with pool(tmp_path, 3) as (plane, (envoy,), (bad, *good)), load(envoy, "p") as statuses:
        plane.kill()
        await plane.ended()
        setattr(bad, how, 2)

        async def is_ejected() -> bool:
            return await envoy.stat("cluster.p.outlier_detection.ejections_active") == 1

        await until("it is ejected", is_ejected)
        sent, begun = bad.started, sum(each.served for each in good)
        lost = statuses.total() - statuses[200]

        async def do_others_serve() -> bool:
            return sum(item.served for item in good) >= begun + 50

        await until("the others serve", do_others_serve)
        # What was on its way when it was ejected may still fail.
        assert bad.started <= sent + 4
        assert statuses.total() - statuses[200] <= lost + 4


async def test_a_pool_of_which_every_replica_fails_keeps_most_of_them(tmp_path: Path) -> None:
    async with pool(tmp_path, 4) as (_, (envoy,), replicas):
        for item in replicas:
            item.fails_every = 2
        async with load(envoy, "p") as statuses:

            async def have_many_failed() -> bool:
                ejected = await envoy.stat("cluster.p.outlier_detection.ejections_active")
                return ejected == 1 and statuses.total() > 600

            await until("one is ejected", have_many_failed)
        hosts = (await envoy.hosts("p")).values()
        out = [host for host in hosts if host["health_status"].get("failed_outlier_check")]
        assert len(out) == 1
        assert {host["health_status"]["eds_health_status"] for host in hosts} == {"HEALTHY"}
        # No more fail than would without ejection.
        assert statuses[500] / statuses.total() < 0.55


async def test_a_request_that_hangs_is_answered_by_another_replica_of_a_pool_that_is_hedged(
    tmp_path: Path,
) -> None:
    hedged = pool(tmp_path, 3, route={"hedge": "300ms"}, health_check=IMPATIENT)
    async with hedged as (_, (envoy,), (hung, *_)):
        async with load(envoy, "p") as statuses:
            hung.answers.clear()
            hung.answers_health.clear()

            async def is_known_dead() -> bool:
                return "r0" not in await envoy.healthy("p") and hung.started > hung.served

            await until("its health check has failed", is_known_dead)
        # None waits for the route's timeout: the load has ended, and all were answered.
        assert set(statuses) == {200}
        hung.answers.set()
        hung.answers_health.set()
