"""Replicas that speak gRPC, through a real Envoy: balanced, checked, tried again, left out."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from controlplane.config import Address
from controlplane.resources.bootstrap import bootstrap
from tests.authority import Files
from tests.envoy.pools import HEALTH_CHECK, pool
from tests.envoy.pools import running as envoy_running
from tests.grpc_replica import METHOD, SERVICE, Client, Fault, GrpcReplica, client, grpc_replica
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, until

OK = grpc.StatusCode.OK


def entry_of(replicas: list[GrpcReplica], **more: Any) -> dict[str, Any]:
    """A pool of these replicas, as a config file has it."""
    settings: dict[str, Any] = {
        "metrics": {"profile": "none"},
        "upstream": {"protocol": "http2"},
        "health_check": {**HEALTH_CHECK, "protocol": "grpc", "service": SERVICE},
        **more,
    }
    entry = pool("p", {f"r{i}": {"address": replica.address} for i, replica in enumerate(replicas)})
    return {**entry, **settings}


@asynccontextmanager
async def fleet(
    folder: Path,
    replicas: list[GrpcReplica],
    credentials: grpc.ChannelCredentials | None = None,
    name: str | None = None,
    **more: Any,
) -> AsyncIterator[tuple[Plimsoll, Envoy, Client]]:
    """A pool of these replicas, a sidecar that has all of them, and a client of its listener."""
    entry = entry_of(replicas, **more)
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(serving(folder, [entry]))
        envoy = await stack.enter_async_context(sidecar(folder, plane.xds, ["p"]))
        address = f"127.0.0.1:{envoy.listeners['p']}"
        clients = await stack.enter_async_context(client(address, credentials, name))

        async def all_serve() -> bool:
            healthy = [await envoy.healthy(f"p{end}") for end in ("", "/retries")]
            return (
                all(len(item) == len(replicas) for item in healthy)
                and (await clients.embed())[0] is OK
            )

        await until("the sidecar has all replicas", all_serve)
        for each in replicas:
            each.reached = 0
        yield plane, envoy, clients


@asynccontextmanager
async def running(count: int, service: float = 0.005) -> AsyncIterator[list[GrpcReplica]]:
    """So many replicas."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(grpc_replica(service)) for _ in range(count)]


async def statuses(clients: Client, count: int, at_once: int = 8) -> Counter[str]:
    """The statuses of so many requests, of which some are in flight at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one() -> str:
        async with gate:
            return (await clients.embed())[0].name

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def test_requests_are_shared_out_over_one_connection_of_a_client(tmp_path: Path) -> None:
    async with running(3) as replicas, fleet(tmp_path, replicas) as (_, _, clients):
        assert await statuses(clients, 300) == {"OK": 300}
        assert min(replica.reached for replica in replicas) > 60
        assert await clients.echoed(b"one", b"two") == [b"one", b"two"]


async def test_a_replica_gets_nothing_while_its_health_service_says_so(tmp_path: Path) -> None:
    async with running(2) as replicas, fleet(tmp_path, replicas) as (_, envoy, clients):
        await replicas[0].says("NOT_SERVING")

        async def is_out() -> bool:
            return await envoy.healthy("p") == {"r1"}

        await until("it is left out", is_out)
        reached = replicas[0].reached
        assert await statuses(clients, 40) == {"OK": 40}
        assert replicas[0].reached == reached
        await replicas[0].says("SERVING")

        async def is_back() -> bool:
            await clients.embed()
            return replicas[0].reached > reached

        await until("it gets requests again", is_back)


async def test_a_replica_whose_model_is_not_loaded_is_not_shown_to_envoys(tmp_path: Path) -> None:
    async with running(2) as replicas, fleet(tmp_path, replicas[:1]) as (plane, envoy, clients):
        await replicas[1].says("NOT_SERVING")
        body = {"address": replicas[1].address}
        assert await plane.call("PUT", "/v1/pools/p/replicas/late", body) == 201

        async def was_asked() -> bool:
            found = await plane.get("/v1/pools/p/replicas/late")
            return any("has not answered SERVING" in item for item in found["why"])

        await until("it was asked for its health", was_asked)
        assert (await envoy.hosts("p")).keys() == {"r0"}
        await replicas[1].says("SERVING")

        async def serves() -> bool:
            await clients.embed()
            return replicas[1].reached > 0

        await until("it gets requests", serves)


async def test_a_replica_that_is_killed_takes_no_request_with_it(tmp_path: Path) -> None:
    async with running(3, 0.05) as replicas, fleet(tmp_path, replicas) as (_, _, clients):
        # None of its answers has begun when it dies: that one could not be had from another.
        replicas[0].fault = "hangs"
        requests = asyncio.create_task(statuses(clients, 200, 12))

        async def is_busy() -> bool:
            return replicas[0].reached > 1 and all(replica.reached > 5 for replica in replicas[1:])

        await until("all have requests in flight", is_busy)
        await replicas[0].die()
        assert await requests == {"OK": 200}


@pytest.mark.parametrize("fault", ["unavailable", "full", "internal"])
async def test_what_one_replica_answers_with_an_error_another_answers(
    tmp_path: Path, fault: Fault
) -> None:
    async with running(3) as replicas, fleet(tmp_path, replicas) as (_, _, clients):
        replicas[0].fault = fault
        assert await statuses(clients, 60) == {"OK": 60}
        assert replicas[0].reached > 0


async def test_what_is_the_fault_of_the_request_is_not_tried_again(tmp_path: Path) -> None:
    async with running(2) as replicas, fleet(tmp_path, replicas) as (_, envoy, clients):
        for item in replicas:
            item.fault = "wrong"
        assert await statuses(clients, 20) == {"INVALID_ARGUMENT": 20}
        assert sum(replica.reached for replica in replicas) == 20
        assert await envoy.stat("cluster.p.outlier_detection.ejections_enforced_total") == 0


@pytest.mark.parametrize(("fault", "status"), [("unavailable", 14), ("internal", 13)])
async def test_a_request_that_all_answer_with_an_error_reaches_few_and_its_client_learns_why(
    tmp_path: Path, fault: Fault, status: int
) -> None:
    async with running(3) as replicas, fleet(tmp_path, replicas) as (_, _, clients):
        for item in replicas:
            item.fault = fault
        found, details = await clients.embed()
        assert (found.value[0], details) == (status, "as the test has it")
        assert (
            1 < sum(replica.reached for replica in replicas) <= 10 if fault == "unavailable" else 2
        )


async def test_a_replica_that_fails_at_once_is_ejected(tmp_path: Path) -> None:
    async with running(3) as replicas, fleet(tmp_path, replicas) as (_, envoy, clients):
        replicas[0].fault = "internal"

        async def is_ejected() -> bool:
            assert await statuses(clients, 20) == {"OK": 20}
            return await envoy.stat("cluster.p.outlier_detection.ejections_active") > 0

        await until("it is ejected", is_ejected)


async def test_a_replica_that_fails_after_its_answer_has_begun_is_left_out(tmp_path: Path) -> None:
    async with running(3) as replicas, fleet(tmp_path, replicas) as (_, envoy, clients):
        replicas[0].fault = "late"

        async def is_left_out() -> bool:
            await statuses(clients, 30)
            host = (await envoy.hosts("p"))["r0"]
            return bool(host["health_status"]["eds_health_status"] == "DRAINING")

        # An Envoy by itself sees its answers begin: what it reports tells the control plane.
        await until("it is left out", is_left_out)
        assert await statuses(clients, 60) == {"OK": 60}


async def test_a_gateway_finds_a_pool_by_metadata_and_logs_what_became_of_a_request(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(grpc_replica())
        plane = await stack.enter_async_context(serving(tmp_path, [entry_of([one])]))
        where = Address("127.0.0.1", free_port())
        data = bootstrap("gateway", plane.xds, admin_port=free_port(), gateway=where, log="json")
        envoy = await stack.enter_async_context(envoy_running(tmp_path, data, where.port, "all"))
        pool_p, no_pool = [
            await stack.enter_async_context(client(str(where), pool=name)) for name in ("p", "q")
        ]

        async def serves() -> bool:
            return (await pool_p.embed())[0] is OK

        await until("the gateway serves", serves)
        one.fault = "wrong"
        assert (await pool_p.embed())[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert (await no_pool.embed())[0] is grpc.StatusCode.UNIMPLEMENTED
        assert await envoy.post("all", path="/q/") == 404

        def logged() -> list[tuple[Any, ...]]:
            lines = (tmp_path / "envoy.log").read_text().splitlines()
            read = [json.loads(line) for line in lines if line.startswith("{")]
            return [(item["status"], item["grpc"], item["path"]) for item in read]

        async def are_written() -> bool:
            return any(path == "/q/" for *_, path in logged())

        await until("its log is written", are_written)
        assert (200, "InvalidArgument", METHOD) in logged()
        assert (200, "OK", METHOD) in logged()
        assert (404, None, "/q/") in logged()


async def test_replicas_over_tls_are_verified_by_name_and_their_health_too(tmp_path: Path) -> None:
    ca = trustme.CA()
    edge, inner = Files(tmp_path / "edge", ca, "edge.test"), Files(tmp_path / "inner", ca, "r.test")
    credentials = grpc.ssl_server_credentials(
        [(inner.key.read_bytes(), inner.certificate.read_bytes())]
    )
    trusted = grpc.ssl_channel_credentials(edge.ca.read_bytes())
    tls = {"ca": str(inner.ca), "server_name": "r.test"}
    more: dict[str, Any] = {"upstream": {"protocol": "http2", "tls": tls}}
    async with (
        grpc_replica(credentials=credentials) as one,
        fleet(tmp_path, [one], **more) as (plane, envoy, plain),
    ):
        assert await statuses(plain, 10) == {"OK": 10}
        settings = await plane.get("/v1/pools/p")
        body = {key: settings[key] for key in ("model", "upstream", "health_check", "metrics")}
        body["listener"] = {**settings["listener"], "tls": edge.listener}
        assert await plane.call("PUT", "/v1/pools/p", body) == 200
        address = f"127.0.0.1:{envoy.listeners['p']}"
        async with client(address, trusted, "edge.test") as secured:

            async def serves() -> bool:
                return (await secured.embed())[0] is OK

            await until("the listener terminates TLS", serves)
        async with client(address) as another:
            assert (await another.embed())[0] is not OK
        body["upstream"]["tls"]["server_name"] = "other.test"
        assert await plane.call("PUT", "/v1/pools/p", body) == 200

        async def is_refused() -> bool:
            return await envoy.healthy("p") == set()

        await until("another name is refused", is_refused)
