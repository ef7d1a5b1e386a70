"""What real clients do on real streams is what the metrics say."""

import asyncio
from pathlib import Path

import aiohttp

from controlplane.app import running
from controlplane.config import load_config
from controlplane.metrics import OwnMetrics
from controlplane.plane import Plane
from controlplane.resources.resource import CLUSTER
from controlplane.xds import Disconnected
from tests.features.xds import FixedCatalog, envoy, serving, until
from tests.features.xds import Plane as Serving
from tests.metrics.exposed import parsed, values
from tests.processes import DEADLINE
from tests.xds.snapshots import snapshot

ONE = snapshot(clusters={"a": "1"})
TWO = snapshot(clusters={"a": "2"})


def counted(plane: Serving) -> OwnMetrics:
    metrics = OwnMetrics(Plane(0.0))
    for _, event in plane.events:
        metrics.streams.observe(event)
    return metrics


async def test_responses_bytes_and_rejections_are_counted_by_type() -> None:
    async with serving(FixedCatalog(ONE)) as plane, envoy(plane.address) as client:
        await client.request()
        first = await client.call.read()
        assert isinstance(first, bytes)
        await client.request(CLUSTER, response_nonce="1")
        plane.show(TWO)
        await client.reject("no port")
        await until(lambda: len(plane.events) == 5)
        metrics = counted(plane)
    assert values(metrics, "plimsoll_xds_connections_total") == {(): 1}
    assert values(metrics, "plimsoll_xds_responses_total")["cds",] == 2
    assert values(metrics, "plimsoll_xds_sent_bytes_total")["cds",] == 2 * len(first)
    assert values(metrics, "plimsoll_xds_acknowledgements_total")["cds",] == 1
    assert values(metrics, "plimsoll_xds_rejections_total")["cds",] == 1


async def test_a_client_is_rejecting_until_it_accepts() -> None:
    async with serving(FixedCatalog(ONE)) as plane, envoy(plane.address) as client:
        assert plane.server.nodes_connected == 0
        await client.request()
        await client.got()
        await client.request(CLUSTER, response_nonce="1")
        await until(lambda: len(plane.events) == 3)
        assert (plane.server.nodes_connected, plane.server.nodes_rejecting) == (1, 0)
        plane.show(TWO)
        await client.reject("no port")
        await until(lambda: plane.server.nodes_rejecting == 1)
        plane.show(snapshot(clusters={"a": "2", "b": "1"}))
        await client.got()
        await client.request(CLUSTER, response_nonce="3")
        await until(lambda: len(plane.events) == 7)
        assert plane.server.nodes_rejecting == 1, "it accepted something else"
        plane.show(snapshot(clusters={"a": "3", "b": "1"}))
        await client.got()
        await client.request(CLUSTER, response_nonce="4")
        await until(lambda: plane.server.nodes_rejecting == 0)
    await until(lambda: plane.server.nodes_connected == 0)


async def test_the_reasons_of_disconnections_are_told_apart() -> None:
    def ended() -> int:
        return sum(isinstance(event, Disconnected) for _, event in plane.events)

    async with serving(FixedCatalog(ONE)) as plane:
        async with envoy(plane.address, "left") as client:
            await client.request()
            await client.got()
        await until(lambda: ended() == 1)
        async with envoy(plane.address, "refused") as client:
            await client.request()
            await client.got()
            await client.request(CLUSTER, resource_names_subscribe=["x" * 2000])
            await until(lambda: ended() == 2)
        async with envoy(plane.address, "open") as client:
            await client.request()
            await client.got()
            await plane.server.stop(grace=1.0)
            await until(lambda: ended() == 3)
        counts = values(counted(plane), "plimsoll_xds_disconnections_total")
    assert {reason: count for (reason,), count in counts.items() if count} == {
        "left": 1,
        "refused": 1,
        "shutdown": 1,
    }


async def test_a_client_that_reads_nothing_is_counted_as_stalled() -> None:
    big = snapshot(clusters={f"{number}": "x" * 1_000_000 for number in range(20)})
    async with (
        serving(FixedCatalog(big), write_timeout=0.2) as plane,
        envoy(plane.address) as client,
    ):
        await client.request()
        await until(lambda: any(isinstance(event, Disconnected) for _, event in plane.events))
        counts = values(counted(plane), "plimsoll_xds_disconnections_total")
    assert counts["stalled",] == 1


async def test_a_running_control_plane_shows_its_streams_scrapes_and_decisions(
    tmp_path: Path,
) -> None:
    config = load_config(
        f"""
store: {{path: {tmp_path}/plimsoll.db}}
admin: {{address: "127.0.0.1:0"}}
xds: {{address: "127.0.0.1:0"}}
pools:
  - name: m
    model: m
    listener: {{address: "127.0.0.1:10000"}}
    replicas: [{{id: a, address: "127.0.0.1:1"}}]
""",
        "plimsoll.yaml",
    )
    async with running(config) as at, aiohttp.ClientSession(f"http://{at.admin}") as session:

        async def shown() -> dict[str, float]:
            async with session.get("/metrics") as response:
                families = parsed(await response.text()).values()
            samples = (sample for family in families for sample in family.samples)
            return {item.name + "".join(item.labels.values()): item.value for item in samples}

        async def is_ready() -> bool:
            async with session.get("/readyz") as response:
                return response.status == 200

        async with asyncio.timeout(DEADLINE):
            while not await is_ready():
                await asyncio.sleep(0.01)
        async with envoy(at.xds) as client:
            await client.request()
            await client.call.read()
            # It is counted when it was written, which may be after it was read here.
            async with asyncio.timeout(DEADLINE):
                while not (open_ := await shown())["plimsoll_xds_responses_totalcds"]:
                    await asyncio.sleep(0.01)
            assert open_["plimsoll_xds_streams"] == 1
            assert open_["plimsoll_xds_connections_total"] == 1
            assert open_["plimsoll_xds_responses_totalcds"] == 1
            assert open_["plimsoll_scrapes_totalfailed"] >= 1
            assert open_["plimsoll_decision_seconds_count"] >= 1
            assert open_["plimsoll_replica_weightma"] == 1000
        async with asyncio.timeout(DEADLINE):
            while (closed := await shown())["plimsoll_xds_streams"]:
                await asyncio.sleep(0.01)
        assert closed["plimsoll_xds_disconnections_totalleft"] == 1
