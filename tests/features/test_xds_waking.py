"""Which streams a change of the real catalog wakes, and that those which slept miss nothing."""

from collections import Counter
from dataclasses import dataclass, field

import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import pytest

from controlplane.fleet import Fleet, PutPool
from controlplane.resources.catalog import REMEMBERED, Catalog, build
from controlplane.resources.resource import CLUSTER, ENDPOINT, Changes, Revision, Snapshot
from controlplane.resources.views import View
from tests.features.xds import Envoy, SotwEnvoy, envoy, serving
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.resources.classes import by_length
from tests.resources.decoded import TIER
from tests.xds.client import Got

ONLY_P = View(pools=("p",))


def built(fleet: Fleet, previous: Catalog) -> Catalog:
    endpoint_weights = {
        name: dict.fromkeys(pool.replicas, TIER) for name, pool in fleet.pools.items()
    }
    return build(fleet, endpoint_weights, previous)


@dataclass(frozen=True)
class Watched:
    """A catalog, and how often the snapshot of each view was asked for."""

    catalog: Catalog
    looks: Counter[View] = field(default_factory=Counter)

    @property
    def revision(self) -> Revision:
        return self.catalog.revision

    def view(self, view: View) -> Snapshot:
        self.looks[view] += 1
        return self.catalog.view(view)

    def changed_since(self, revision: Revision | None) -> Changes | None:
        return self.catalog.changed_since(revision)

    def after(self, fleet: Fleet) -> "Watched":
        return Watched(built(fleet, self.catalog), self.looks)


class RealDelta(Envoy):
    """Tells names and versions of resources whose contents are Envoy's own messages."""

    def read(self, data: bytes) -> Got:
        message = discovery_v3.DeltaDiscoveryResponse.parse(data)
        versions = {resource.name: resource.version for resource in message.resources}
        return Got(message.type_url, versions, message.removed_resources, message.nonce, "")


class RealSotw(SotwEnvoy):
    """Tells how many resources came, whose contents are Envoy's own messages."""

    def read(self, data: bytes) -> Got:
        message = discovery_v3.DiscoveryResponse.parse(data)
        found = {str(index): resource.type_url for index, resource in enumerate(message.resources)}
        return Got(message.type_url, found, [], message.nonce, message.version_info)


PROTOCOLS = pytest.mark.parametrize(
    "protocol", [RealDelta, RealSotw], ids=["delta", "state of the world"]
)


def two_pools() -> Fleet:
    return after(PutPool("q", pool_settings(10001)), put("x", 5, pool="q"), fleet=a_pool(a=1))


@PROTOCOLS
async def test_a_stream_that_is_shown_one_pool_does_nothing_when_another_changes(
    protocol: type[Envoy],
) -> None:
    fleet = two_pools()
    now = Watched(built(fleet, Catalog()))
    async with (
        serving(now) as plane,
        envoy(plane.address, "one", protocol=protocol) as one,
        envoy(plane.address, "all", protocol=protocol) as all_,
    ):
        one.metadata({"plimsoll": {"pools": ["p"]}})
        for client in (one, all_):
            await client.want(CLUSTER)
            await client.want(ENDPOINT, "p", "q")
            while (await client.accept()).type_url != ENDPOINT:
                pass
        # Both have everything; this brings the first to a place where it only waits.
        fleet = after(put("b", 2), fleet=fleet)
        now = now.after(fleet)
        plane.show(now)
        for client in (one, all_):
            assert (await client.accept()).type_url == ENDPOINT
        before, of_all = now.looks[ONLY_P], now.looks[View()]
        for port in range(6, 12):
            fleet = after(put("x", port, pool="q"), fleet=fleet)
            now = now.after(fleet)
            plane.show(now)
            assert (await all_.accept()).type_url == ENDPOINT
        assert now.looks[View()] > of_all
        assert now.looks[ONLY_P] == before


@PROTOCOLS
async def test_a_stream_that_slept_through_more_changes_than_are_remembered_converges(
    protocol: type[Envoy],
) -> None:
    fleet = two_pools()
    now = Watched(built(fleet, Catalog()))
    async with serving(now) as plane, envoy(plane.address, protocol=protocol) as client:
        client.metadata({"plimsoll": {"pools": ["p"]}})
        await client.want(ENDPOINT, "p")
        first = await client.accept()
        shown = now
        for port in range(100, 100 + REMEMBERED + 8):
            fleet = after(put("x", port, pool="q"), fleet=fleet)
            now = now.after(fleet)
            plane.show(now)
        now = now.after(after(put("b", 2), fleet=fleet))
        assert now.changed_since(shown.revision) is None, "too much to be remembered"
        plane.show(now)
        second = await client.accept()
    assert len(first.resources) == len(second.resources) == 1
    assert (first.version, first.resources) != (second.version, second.resources)


@PROTOCOLS
async def test_a_stream_that_is_shown_one_pool_hears_of_who_serves_a_class_of_it(
    protocol: type[Envoy],
) -> None:
    fleet = a_pool(a=1, b=2)
    endpoint_weights = {"p": dict.fromkeys("ab", TIER)}

    def parted(of_bulk: str, previous: Catalog) -> Watched:
        parting = {"p": by_length(endpoint_weights["p"], of_bulk)}
        return Watched(build(fleet, endpoint_weights, previous, parting=parting))

    now = parted("a", Catalog())
    async with serving(now) as plane, envoy(plane.address, protocol=protocol) as client:
        client.metadata({"plimsoll": {"pools": ["p"]}})
        await client.want(ENDPOINT, "p", "p:bulk")
        await client.accept()
        other = parted("b", now.catalog)
        assert other.changed_since(now.revision) == {ENDPOINT: frozenset({"p", "p:bulk"})}
        plane.show(other)
        assert (await client.accept()).type_url == ENDPOINT
