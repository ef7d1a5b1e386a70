"""What real clients do on real streams is what the metrics say."""

from controlplane.edges.own_metrics import OwnMetrics
from controlplane.plane import Plane
from controlplane.resources.resource import CLUSTER
from tests.edges.own_metrics.exposed import values
from tests.features.xds import FixedCatalog, envoy, serving, until
from tests.features.xds import Plane as Serving
from tests.xds.client import snapshot

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


async def test_the_reasons_of_disconnections_are_told_apart() -> None:
    async with serving(FixedCatalog(ONE)) as plane:
        async with envoy(plane.address, "left") as client:
            await client.request()
            await client.accept()
        await until(lambda: len(plane.events) == 4)
        async with envoy(plane.address, "refused") as client:
            await client.request()
            await client.accept()
            await client.request(CLUSTER, resource_names_subscribe=["x" * 2000])
            await client.call.code()
        async with envoy(plane.address, "open") as client:
            await client.request()
            await client.accept()
            await plane.server.stop(grace=1.0)
            await until(lambda: len(plane.events) == 12)
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
        await until(lambda: len(plane.events) == 2)
        counts = values(counted(plane), "plimsoll_xds_disconnections_total")
    assert counts["stalled",] == 1
