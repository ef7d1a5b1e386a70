"""The catalog: each resource encoded once, versions that say what changed, views that share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.config import Address, PoolSettings, validated
from controlplane.fleet import DeletePool, Drain, Fleet, Heartbeat, Pool, PutPool
from controlplane.resources import pool_resources
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.clusters import FULL_SCAN_HOSTS, cluster
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource
from controlplane.resources.views import View
from tests.fleet.fleets import a_pool, after, pool_settings, put
from tests.resources.decoded import TIER, catalog

HEAVIER = EndpointWeight(TIER.tier, TIER.weight + 1)

NAMED = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""The types of which a pool has a resource of its own name."""


def two_pools() -> Fleet:
    return after(PutPool("q", pool_settings(10001)), put("x", 5, pool="q"), fleet=a_pool(a=1, b=2))


def resources(held: Catalog, pool: str = "p") -> dict[str, Resource]:
    """A pool's resource of each type."""
    return {url: held.view(View()).type(url)[pool] for url in NAMED}


def changed(before: Catalog, after_: Catalog, pool: str = "p") -> set[str]:
    """The types whose version is another."""
    old, new = resources(before, pool), resources(after_, pool)
    return {url for url in NAMED if old[url].version != new[url].version}


def encoded_anew(before: Catalog, after_: Catalog, pool: str = "p") -> set[str]:
    """The types of which there is another object."""
    old, new = resources(before, pool), resources(after_, pool)
    return {url for url in NAMED if old[url] is not new[url]}


def test_every_pool_has_one_resource_of_each_type_and_a_cluster_for_retries() -> None:
    view = catalog(two_pools()).view(View())
    retries = {CLUSTER: ["p/retries", "q/retries"]}
    assert {url: sorted(view.type(url)) for url in NAMED} == {
        url: sorted(["p", "q", *retries.get(url, ())]) for url in NAMED
    }


def test_an_empty_fleet_has_every_type_and_no_resource() -> None:
    view = catalog(Fleet()).view(View())
    assert [view.type(url) for url in NAMED] == [{}] * len(NAMED)


def test_a_type_that_is_not_served_is_empty() -> None:
    assert catalog(a_pool()).view(View()).type("type.googleapis.com/other") == {}


def test_equal_input_has_equal_versions() -> None:
    assert changed(catalog(a_pool(a=1, b=2)), catalog(a_pool(b=2, a=1))) == set()


PRINT_VERSIONS = """
from tests.resources.test_catalog import resources, two_pools
from tests.resources.decoded import catalog
print(*(it.version for it in resources(catalog(two_pools())).values()))
"""


def test_another_process_has_the_same_versions() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PRINT_VERSIONS],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [
        resource.version for resource in resources(catalog(two_pools())).values()
    ]


def test_an_unchanged_fleet_is_the_same_catalog() -> None:
    held = catalog(two_pools())
    assert catalog(two_pools(), previous=held) is held


def test_a_heartbeat_is_the_same_catalog() -> None:
    fleet = after(put("a", 1, ttl="30s"), fleet=a_pool())
    held = catalog(fleet)
    assert catalog(after(Heartbeat("p", "a"), fleet=fleet, now=9), previous=held) is held


def test_a_replica_that_has_no_portion_yet_is_the_same_catalog() -> None:
    fleet = a_pool(a=1)
    held = build(fleet, {"p": {"a": TIER}}, Catalog())
    assert build(after(put("b", 2), fleet=fleet), {"p": {"a": TIER}}, held) is held


def test_only_pools_that_were_touched_are_looked_at() -> None:
    held = catalog(two_pools())
    heavier = {name: dict.fromkeys("abx", HEAVIER) for name in "pq"}
    built = build(two_pools(), heavier, held, {"p": None})
    assert (encoded_anew(held, built, "p"), encoded_anew(held, built, "q")) == ({ENDPOINT}, set())


def test_a_touched_pool_that_is_gone_or_was_never_there_is_left_out() -> None:
    held = catalog(two_pools())
    endpoint_weights, gone = {"p": dict.fromkeys("ab", TIER)}, dict.fromkeys(("q", "nobody"))
    built = build(a_pool(a=1, b=2), endpoint_weights, held, gone)
    assert built.pools.keys() == {"p"}
    assert build(a_pool(a=1, b=2), {}, built, gone) is built


def test_a_new_pools_cluster_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = list[str]()

    def counted(pool: Pool, name: str | None = None) -> bytes:
        encoded.append(name or pool.name)
        return cluster(pool, name)

    monkeypatch.setattr(pool_resources, "cluster", counted)
    catalog(two_pools())
    assert sorted(encoded) == ["p", "q"]


def test_a_changed_weight_encodes_endpoints_only() -> None:
    held = catalog(a_pool(a=1))
    assert encoded_anew(held, catalog(a_pool(a=1), HEAVIER, held)) == {ENDPOINT}


def test_a_changed_weight_changes_the_version_of_endpoints_only() -> None:
    assert changed(catalog(a_pool(a=1)), catalog(a_pool(a=1), HEAVIER)) == {ENDPOINT}


def test_a_changed_pool_leaves_the_others_as_they_are() -> None:
    held = catalog(two_pools())
    changed_ = catalog(after(put("c", 3), fleet=two_pools()), previous=held)
    assert encoded_anew(held, changed_, "q") == set()


def test_a_new_replica_changes_endpoints_only() -> None:
    held = catalog(a_pool(a=1))
    assert changed(held, catalog(a_pool(a=1, b=2), previous=held)) == {ENDPOINT}


def test_a_drained_replica_changes_endpoints_only() -> None:
    held = catalog(a_pool(a=1))
    drained = after(Drain("p", "a"), fleet=a_pool(a=1))
    assert changed(held, catalog(drained, previous=held)) == {ENDPOINT}


def test_a_moved_replica_changes_endpoints_only() -> None:
    held = catalog(a_pool(a=1))
    assert changed(held, catalog(a_pool(a=2), previous=held)) == {ENDPOINT}


def with_settings(**settings: object) -> Fleet:
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **settings}
    return after(PutPool("p", validated(PoolSettings, body)), put("a", 1))


def test_endpoints_have_another_version_when_their_cluster_has() -> None:
    held = catalog(with_settings())
    again = catalog(with_settings(health_check={"interval": "2s"}), previous=held)
    assert changed(held, again) == {CLUSTER, ENDPOINT}


def test_endpoints_are_the_same_bytes_when_only_their_cluster_has_changed() -> None:
    held = catalog(with_settings())
    again = catalog(with_settings(health_check={"interval": "2s"}), previous=held)
    assert resources(held)[ENDPOINT].packed == resources(again)[ENDPOINT].packed


def test_a_changed_route_changes_the_route_only() -> None:
    held = catalog(with_settings())
    assert changed(held, catalog(with_settings(route={"prefix": "/v1"}), previous=held)) == {ROUTE}


def test_a_changed_listener_changes_the_listener_only() -> None:
    held = catalog(with_settings())
    moved = with_settings(listener={"address": "127.0.0.1:10009"})
    assert changed(held, catalog(moved, previous=held)) == {LISTENER}


def test_what_only_the_weighing_reads_changes_nothing() -> None:
    held = catalog(with_settings())
    assert changed(held, catalog(with_settings(objective={"p99": "1s"}), previous=held)) == set()


def test_one_replica_more_than_envoy_scans_changes_the_cluster() -> None:
    many = {f"r{i}": i + 1 for i in range(FULL_SCAN_HOSTS)}
    held = catalog(a_pool(**many))
    assert changed(held, catalog(a_pool(**many, more=999), previous=held)) == {CLUSTER, ENDPOINT}


def test_what_is_built_step_by_step_is_what_is_built_at_once() -> None:
    held = catalog(a_pool())
    for fleet in (a_pool(a=1), a_pool(a=1, b=2), two_pools()):
        held = catalog(fleet, HEAVIER, held)
    assert changed(held, catalog(two_pools(), HEAVIER)) == set()


def test_a_removed_pool_is_gone() -> None:
    held = catalog(two_pools())
    left = catalog(after(DeletePool("q"), fleet=two_pools()), previous=held)
    assert list(left.view(View()).type(CLUSTER)) == ["p", "p/retries"]


def test_equal_views_share_one_object() -> None:
    held = catalog(two_pools())
    assert held.view(View(("p",))) is held.view(View(("p",)))


def test_a_view_shows_the_pools_it_names_of_each_type() -> None:
    view = catalog(two_pools()).view(View(("q",)))
    assert {tuple(view.type(url)) for url in NAMED} == {("q",), ("q", "q/retries")}


def test_unknown_pools_in_a_view_are_ignored() -> None:
    assert list(catalog(two_pools()).view(View(("nobody", "q"))).type(CLUSTER)) == [
        "q",
        "q/retries",
    ]


def test_a_view_of_no_pools_shows_nothing() -> None:
    assert catalog(two_pools()).view(View(())).type(CLUSTER) == {}


MOVED = View(listen=(("p", Address("127.0.0.2", 7)),))


@pytest.mark.parametrize("url", [CLUSTER, ENDPOINT, ROUTE])
def test_views_with_and_without_moved_listeners_share_all_else(url: str) -> None:
    held = catalog(a_pool(a=1))
    assert held.view(MOVED).type(url)["p"] is held.view(View()).type(url)["p"]


def test_a_view_can_move_a_listener() -> None:
    moved = after(
        PutPool(
            "p",
            validated(PoolSettings, {"model": "m", "listener": {"address": "127.0.0.2:7"}}),
        )
    )
    there = catalog(moved).view(View()).type(LISTENER)["p"]
    assert catalog(a_pool()).view(MOVED).type(LISTENER)["p"] == there


def test_a_moved_listener_leaves_that_of_other_pools() -> None:
    held = catalog(two_pools())
    assert held.view(MOVED).type(LISTENER)["q"] is held.view(View()).type(LISTENER)["q"]


def test_a_listener_moved_for_an_unknown_pool_is_ignored() -> None:
    view = View(listen=(("nobody", Address("127.0.0.2", 7)),))
    assert list(catalog(a_pool()).view(view).type(LISTENER)) == ["p"]


def test_a_moved_listener_is_not_encoded_again_when_weights_change() -> None:
    held = catalog(a_pool(a=1))
    again = catalog(a_pool(a=1), HEAVIER, held)
    assert held.view(MOVED).type(LISTENER)["p"] is again.view(MOVED).type(LISTENER)["p"]
