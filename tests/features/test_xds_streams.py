"""Envoys on a real gRPC connection get what they should hold, whatever happens in between."""

import grpc

from controlplane.resources.views import View
from controlplane.xds import Acknowledged, Connected, Disconnected, Rejected, Sent
from tests.features.xds import FixedCatalog, envoy, serving, until
from tests.xds.snapshots import snapshot

OLD = snapshot(
    clusters={"old": "1"}, endpoints={"old": "1"}, listeners={"l": "1"}, routes={"r": "to old"}
)
NEW = snapshot(
    clusters={"new": "1"}, endpoints={"new": "1"}, listeners={"l": "2"}, routes={"r": "to new"}
)


async def test_a_client_is_served_the_view_that_its_metadata_asks_for() -> None:
    views = {View(pools=("b",)): snapshot(clusters={"b": "1"})}
    catalog = FixedCatalog(snapshot(clusters={"a": "1", "b": "1"}), views)
    async with serving(catalog) as plane, envoy(plane.address) as client:
        client.metadata({"plimsoll": {"pools": ["b"]}})
        await client.request()
        assert (await client.accept()).resources == {"b": "1"}


async def test_streams_are_refused_until_a_catalog_is_loaded() -> None:
    async with serving(None) as plane:
        async with envoy(plane.address) as client:
            assert await client.call.code() is grpc.StatusCode.UNAVAILABLE
        plane.show(OLD)
        async with envoy(plane.address) as client:
            await client.request()
            assert (await client.got()).resources == {"old": "1"}


async def test_everything_that_happens_is_reported_and_shown() -> None:
    async with serving(FixedCatalog(OLD)) as plane:
        async with envoy(plane.address, "sidecar-7") as client:
            await client.request()
            await client.accept()
            plane.show(snapshot(clusters={"old": "2"}))
            await client.reject("no port")
            await until(lambda: isinstance(plane.events[-1][1], Rejected))
            (status,) = plane.server.nodes()
        await until(lambda: plane.server.nodes() == ())
    assert {node for node, _ in plane.events} == {"sidecar-7"}
    kinds = [type(event) for _, event in plane.events]
    assert kinds == [Connected, Sent, Acknowledged, Sent, Rejected, Disconnected]
    assert status.id == "sidecar-7"
    assert status.types[0].rejection is not None
    assert status.types[0].rejection.message == "no port"
