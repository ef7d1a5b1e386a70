"""What Envoys tell of the sizes of requests, pool by pool."""

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
