"""What Envoys tell of the sizes of requests, pool by pool."""

from controlplane.config import PoolSettings, validated
from controlplane.config.pool import given_data
from controlplane.fleet import PutPool, apply
from controlplane.plane import Plane
from controlplane.telemetry.sizes import Sample
from tests.fleet.fleets import without_pool
from tests.plane.test_traffic import serving

ONE = Sample("p", "", "127.0.0.1", 9001, 100, 0.1, 200)


def plane() -> Plane:
    return serving("none")


def test_the_sizes_of_a_pools_requests_are_kept_whatever_their_class() -> None:
    a_plane = plane()
    a_plane.sampled([ONE, ONE._replace(class_name="bulk", bytes=9_000)], 1.0)
    a_plane.sampled([ONE], 2.0)
    split = a_plane.sizes["p"].all.threshold()
    assert split is not None
    assert (split.below.requests, split.above.requests) == (2, 1)


def test_requests_to_pools_that_are_not_there_are_dropped() -> None:
    a_plane = plane()
    a_plane.sampled([ONE._replace(pool="q")], 1.0)
    assert a_plane.sizes == {}


def test_of_a_pool_that_is_removed_nothing_is_kept() -> None:
    a_plane = plane()
    a_plane.sampled([ONE], 1.0)
    for name in a_plane.fleet.pools:
        a_plane.adopt(without_pool(a_plane.fleet, name), 2.0)
    assert a_plane.sizes == {}


def test_of_a_request_through_a_gateway_the_gateways_sample_counts_and_the_sidecars_does_not() -> (
    None
):
    a_plane = plane()
    named = {"balancing": {"long_requests_via": ["10.0.0.5:10100"]}}
    settings = validated(PoolSettings, given_data(a_plane.fleet.pools["p"].settings) | named)
    a_plane.adopt(apply(a_plane.fleet, PutPool("p", settings), 0.5), 0.5)
    at_gateway = ONE._replace(class_name="bulk", host="10.0.0.5", port=10100)
    a_plane.sampled([at_gateway, ONE._replace(class_name="bulk")], 1.0)
    assert a_plane.sizes["p"].all.samples == 1
    # No other class goes there.
    a_plane.sampled([at_gateway._replace(class_name="")], 1.0)
    assert a_plane.sizes["p"].all.samples == 2
