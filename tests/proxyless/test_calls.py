"""``plimsoll serve`` and a real gRPC client: whom it calls, and that no call fails."""

import asyncio
import os
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pytest
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from tests.certificates import Authority
from tests.envoy.pools import HEALTH_CHECK, pool
from tests.processes import Plimsoll, process, serving, until
from tests.proxyless import client
from tests.proxyless.replicas import Door, grpc_replica

POOL = "minilm"

SPOKEN: Final[dict[str, Any]] = {
    "upstream": {"protocol": "http2"},
    "health_check": {**HEALTH_CHECK, "protocol": "grpc"},
}
"""Replicas are asked for their health over gRPC, too."""

CLIENT = shlex.split(os.environ.get("PLIMSOLL_GRPC_CLIENT", "")) or [
    sys.executable,
    client.__file__,
]
"""A program that does what `client` does; ``make test-grpc`` names others."""

CUT_OFF = "UNKNOWN channel closed"
"""How grpc-java ends a call whose connection breaks as it is sent; xDS has no retry for that."""


class Calls:
    """What a client printed of its calls."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def answers(self) -> list[str]:
        """In order: the id of the replica that answered, or the status and why."""
        return self._log.read_text().splitlines()

    @property
    def failed(self) -> list[str]:
        """Of these the ones that failed."""
        return [answer for answer in self.answers if " " in answer and answer != CUT_OFF]

    async def more(self, count: int) -> list[str]:
        """Wait for so many answers more."""
        before = len(self.answers)

        async def have_come() -> bool:
            return len(self.answers) >= before + count

        await until(f"{count} answers more", have_come)
        return self.answers[before:]


@asynccontextmanager
async def calling(folder: Path, plane: Plimsoll, most: int, *more: str) -> AsyncIterator[Calls]:
    """A client with the bootstrap that ``plimsoll`` prints, until the context closes."""
    arguments = ["bootstrap", "--grpc", "--node", "app", "--xds", str(plane.xds), *more]
    bootstrap, log = folder / "grpc.json", folder / "client.log"
    bootstrap.write_text(CliRunner().invoke(plimsoll, arguments).output)
    env = {"GRPC_XDS_BOOTSTRAP": str(bootstrap), "GRPC_VERBOSITY": "NONE"}
    async with process(*CLIENT, f"xds:///{POOL}", str(most), log=log, env=env):
        yield Calls(log)


@asynccontextmanager
async def called(
    folder: Path,
    seconds: Mapping[str, float],
    most: int = 100,
    authority: Authority | None = None,
    zones: Mapping[str, str] = MappingProxyType({}),
    **more: Any,
) -> AsyncIterator[tuple[Plimsoll, dict[str, Door], Calls]]:
    """A pool of replicas that take so long for a call, and a client that calls all of them.

    Args:
        folder: For files.
        seconds: By replica.
        most: Calls in flight; on a busy machine more would wait for longer than their deadline.
        authority: Signs certificates for client and control plane; None: they have none.
        zones: Of replicas; the client runs in that of the first.
        more: Of the pool.
    """
    security: dict[str, Any] = {}
    options: list[str] = []
    if authority is not None:
        root = str(authority.write(folder))
        certificate, key = (str(item) for item in authority.server().write(folder, "server"))
        files = {"certificate": certificate, "key": key, "client_ca": root}
        security = {"tls": {**files, "nodes": {"app": [POOL]}}}
        certificate, key = (str(each) for each in authority.node("app").write(folder, "app"))
        options = ["--tls-certificate", certificate, "--tls-key", key, "--tls-ca", root]
    if zones:
        options += ["--locality", f"eu/{next(iter(zones.values()))}"]
    async with AsyncExitStack() as stack:
        doors = {
            id_: await stack.enter_async_context(grpc_replica(id_, service))
            for id_, service in seconds.items()
        }
        replicas = {
            id_: {"address": door.address, "locality": {"region": "eu", "zone": zones.get(id_)}}
            for id_, door in doors.items()
        }
        declared = pool(POOL, replicas, **{**SPOKEN, **more})
        served = serving(folder, [declared], xds_more=security)
        plane = await stack.enter_async_context(served)

        async def has_started() -> bool:
            return await plane.call("GET", "/readyz") == 200

        await until("there is something to serve", has_started)
        calls = await stack.enter_async_context(calling(folder, plane, most, *options))

        async def are_called() -> bool:
            return all(doors[id_].calls for id_ in [*zones][:1] or doors)

        await until("replicas are called", are_called)
        yield plane, doors, calls


async def gets_none(calls: Calls, *ids: str) -> None:
    """Wait until a hundred calls in a row go to others than these."""

    async def are_left_out() -> bool:
        return not {*ids} & {*await calls.more(100)}

    await until(f"{ids} get no call", are_left_out)


async def is_halved(plane: Plimsoll) -> bool:
    """Whether each of two replicas has half of four calls, as the control plane counts."""
    found = (await plane.get(f"/v1/pools/{POOL}/replicas"))["replicas"]
    return [item["in_flight"] for item in found] == [2.0, 2.0]


async def gets_some(calls: Calls, id_: str) -> None:
    """Wait until a replica answers calls."""

    async def answers() -> bool:
        return id_ in await calls.more(20)

    await until(f"{id_} answers", answers)


TWO = {"a": 0.002, "b": 0.002}


async def test_it_takes_all_that_it_is_sent_and_is_shown_as_what_it_is(tmp_path: Path) -> None:
    # With a prefix its routes have a regular expression.
    prefix = {"prefix": "/plimsoll.test.Embedder"}
    async with called(tmp_path, TWO, route=prefix) as (plane, _, calls):

        async def is_in_sync() -> bool:
            (node,) = (await plane.get("/v1/nodes"))["nodes"]
            return bool(node["in_sync"])

        await until("the client has acknowledged everything", is_in_sync)
        (node,) = (await plane.get("/v1/nodes"))["nodes"]
        kinds = {
            item["type_url"].rpartition(".")[2]: item["last_rejection"] for item in node["types"]
        }
        assert kinds == {"Listener": None, "Cluster": None, "ClusterLoadAssignment": None}
        arguments = ["nodes", "--url", f"http://{plane.admin}"]
        table = await asyncio.to_thread(CliRunner().invoke, plimsoll, arguments)
        assert "app (gRPC)" in table.output
        assert not calls.failed


@pytest.mark.skipif(CLIENT[0] in ("node", "java"), reason="reads no certificates from files")
async def test_with_a_certificate_it_holds_the_pools_of_its_node_and_its_load_counts(
    tmp_path: Path,
) -> None:
    async with called(tmp_path, TWO, 4, Authority()) as (plane, doors, calls):
        (node,) = (await plane.get("/v1/nodes"))["nodes"]
        assert node["identity"] == "spiffe://plimsoll.local/node/app"
        for door in doors.values():
            door.fake.service = 60.0
        await until("its calls are counted", lambda: is_halved(plane))
        assert not calls.failed


async def test_tiers_get_what_they_can_carry(tmp_path: Path) -> None:
    seconds = {"fast": 0.002, "quick": 0.002, "slow": 0.02}
    async with called(tmp_path, seconds) as (plane, _, calls):

        async def shares() -> dict[str, float]:
            found = (await plane.get(f"/v1/pools/{POOL}/replicas"))["replicas"]
            return {item["id"]: item["share"] for item in found}

        async def are_apart() -> bool:
            return (await shares())["slow"] < 0.2

        await until("the slow replica gets less", are_apart)

        async def are_as_told() -> bool:
            told: list[dict[str, float]] = []

            async def watch() -> None:
                while True:
                    told.append(await shares())
                    await asyncio.sleep(0.1)

            watching = asyncio.create_task(watch())
            counts = Counter(await calls.more(500))
            watching.cancel()
            found = {id_: counts[id_] / counts.total() for id_ in seconds}
            mean = {id_: sum(each[id_] for each in told) / len(told) for id_ in seconds}
            return all(abs(found[id_] - mean[id_]) < 0.05 for id_ in seconds)

        await until("calls are shared as the control plane says", are_as_told)
        assert not calls.failed


async def test_calls_stay_in_a_zone_that_can_carry_them_as_long_as_it_is_there(
    tmp_path: Path,
) -> None:
    zones, near = {"a": "one", "b": "two"}, {"locality": "nearest"}
    async with called(tmp_path, TWO, zones=zones, balancing=near) as (_, doors, calls):
        await gets_none(calls, "b")
        doors["a"].stop()
        await gets_none(calls, "a")
        await doors["a"].start()
        await gets_none(calls, "b")
        assert not calls.failed


async def test_a_drained_replica_gets_no_call_and_none_fails(tmp_path: Path) -> None:
    async with called(tmp_path, TWO) as (plane, _, calls):
        assert await plane.call("POST", f"/v1/pools/{POOL}/replicas/a/drain") == 200
        await gets_none(calls, "a")
        assert await plane.call("POST", f"/v1/pools/{POOL}/replicas/a/undrain") == 200
        await gets_some(calls, "a")
        assert not calls.failed


async def test_a_replica_that_stops_costs_no_call_and_comes_back(tmp_path: Path) -> None:
    async with called(tmp_path, TWO) as (_, doors, calls):
        doors["a"].stop()
        await gets_none(calls, "a")
        await doors["a"].start()
        await gets_some(calls, "a")
        assert not calls.failed


async def test_a_replica_that_hangs_gets_no_more_calls(tmp_path: Path) -> None:
    check = {"protocol": "grpc", "interval": "500ms", "timeout": "500ms"}
    async with called(tmp_path, TWO, 1_000, health_check=check) as (_, doors, calls):
        doors["a"].hang()

        async def is_left() -> bool:
            before = doors["a"].swallowed
            return {*await calls.more(100)} == {"b"} and doors["a"].swallowed == before

        await until("the other gets all calls", is_left)


async def test_a_replica_that_is_not_well_by_its_own_word_gets_no_calls(tmp_path: Path) -> None:
    async with called(tmp_path, TWO, metrics={"profile": "none"}) as (_, doors, calls):
        doors["a"].fake.loaded = False
        await gets_none(calls, "a")
        doors["a"].fake.loaded = True
        await gets_some(calls, "a")
        assert not calls.failed


async def test_where_no_replica_is_well_all_of_them_are_called(tmp_path: Path) -> None:
    async with called(tmp_path, TWO, metrics={"profile": "none"}) as (_, doors, calls):
        doors["a"].fake.loaded = False
        await gets_none(calls, "a")
        doors["b"].fake.loaded = False
        await gets_some(calls, "a")
        assert {*await calls.more(100)} == {"a", "b"}
        assert not calls.failed


async def test_what_it_has_in_flight_is_shared_among_the_replicas_of_a_tier(tmp_path: Path) -> None:
    async with called(tmp_path, TWO, 4, metrics={"profile": "none"}) as (plane, doors, _):
        for door in doors.values():
            door.fake.service = 60.0

        await until("each has half of the four calls", lambda: is_halved(plane))
