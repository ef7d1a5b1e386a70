"""Replicas that fail behind their ingresses, over mutual TLS: what holds without a mesh holds."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.certificates import Authority
from tests.certificates import node as node_id
from tests.envoy.faulty import POISON, Fault, FaultyReplica
from tests.envoy.load import goes_on, load
from tests.envoy.mesh import POOL, beside, install
from tests.envoy.pools import IMPATIENT, pool
from tests.processes import Envoy, free_port, serving, sidecar, until

SHORT: Final = "a text"
LONG: Final = "t" * (2 << 20)
"""More than a kernel takes for a program that does not read."""


@asynccontextmanager
async def faulty(
    folder: Path, count: int, **more: Any
) -> AsyncIterator[tuple[Envoy, list[FaultyReplica], list[Envoy]]]:
    """A strict pool of replicas that fail in a way of their own, each behind an ingress."""
    authority, ingresses = Authority(), list[Envoy]()
    replicas = [FaultyReplica() for _ in range(count)]
    ports = [free_port() for _ in replicas]
    entries = {
        f"r{i}": {"address": f"127.0.0.1:{each.port}", "ingress": f"127.0.0.1:{ports[i]}"}
        for i, each in enumerate(replicas)
    }
    settings = {"mesh": {"mode": "strict"}, "metrics": {"profile": "none"}, **more}
    entry = pool(POOL, entries, **settings)
    async with AsyncExitStack() as stack:
        for one in replicas:
            await one.start()
            stack.callback(one.die)
        plane = await stack.enter_async_context(serving(folder, [entry]))
        for index, one in enumerate(replicas):
            address = f"127.0.0.1:{one.port}"
            ingresses.append(
                await stack.enter_async_context(
                    beside(folder, authority, plane, index, ports[index], address)
                )
            )
        secrets = install(authority, folder / "egress-certs", node_id("egress"))
        egress = await stack.enter_async_context(
            sidecar(folder, plane.xds, [POOL], "egress", secrets=secrets)
        )

        async def all_serve() -> bool:
            healthy = [await egress.healthy(f"{POOL}{end}") for end in ("", "/retries")]
            return all(len(item) == count for item in healthy) and await egress.post(POOL) == 200

        await until("all replicas serve", all_serve)
        yield egress, replicas, ingresses


async def goes_well(egress: Envoy, replica: FaultyReplica) -> bool:
    """Whether all of many requests are answered, of which the replica gets some."""
    reached = replica.reached
    # A kernel takes a short one for a program that does not read.
    texts = [LONG] if replica.fault == "takes-none" else [SHORT, LONG]
    async with load(egress, POOL, texts=texts, rate=100.0) as statuses:

        async def is_over() -> bool:
            return statuses.total() > 100 and replica.reached > reached

        await until("many requests are answered", is_over)
    return statuses.keys() == {200}


@pytest.mark.parametrize(
    "fault",
    ["resets-reused", "refuses", "is-full", "errs", "breaks", "half-broken", "cuts", "takes-none"],
)
async def test_what_one_replica_fails_to_answer_another_answers(
    tmp_path: Path, fault: Fault
) -> None:
    async with faulty(tmp_path, 3, health_check=IMPATIENT) as (egress, replicas, _):
        replicas[0].fault = fault
        assert await goes_well(egress, replicas[0])


async def test_a_replica_that_is_killed_takes_no_request_with_it(tmp_path: Path) -> None:
    async with faulty(tmp_path, 3) as (egress, replicas, _):
        async with load(egress, POOL, texts=[SHORT, LONG], rate=100.0) as statuses:
            await goes_on(statuses)
            replicas[0].die()
            await goes_on(statuses, 100)
        assert {*statuses} == {200}


async def test_an_ingress_that_is_killed_takes_no_request_with_it(tmp_path: Path) -> None:
    async with faulty(tmp_path, 3) as (egress, _, ingresses):
        async with load(egress, POOL, texts=[SHORT, LONG], rate=100.0) as statuses:
            await goes_on(statuses)
            assert ingresses[0].pid
            os.kill(ingresses[0].pid, signal.SIGKILL)
            await goes_on(statuses, 100)
        assert {*statuses} == {200}


async def test_a_request_that_ends_replicas_ends_no_more_than_two(tmp_path: Path) -> None:
    async with faulty(tmp_path, 4) as (egress, replicas, _):
        await egress.post(POOL, POISON)
        assert sum(one.is_dead for one in replicas) == 2


async def test_a_replica_alone_that_resets_used_connections_loses_no_request(
    tmp_path: Path,
) -> None:
    async with faulty(tmp_path, 1) as (egress, replicas, _):
        replicas[0].fault = "resets-reused"
        assert await goes_well(egress, replicas[0])
