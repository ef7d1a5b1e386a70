"""Which replicas an Envoy uses first, by where it and they run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.resources.places import NOWHERE, Place, priorities

EU_A, EU_B, US_A = Place("eu", "a"), Place("eu", "b"), Place("us", "a")
PLACES = st.builds(Place, st.sampled_from(["", "eu", "us"]), st.sampled_from(["", "a", "b"]))


def test_the_own_zone_comes_first_then_the_region_then_the_rest() -> None:
    assert priorities(EU_A, [US_A, EU_B, EU_A]) == {EU_A: 0, EU_B: 1, US_A: 2}


def test_a_zone_of_the_same_name_in_another_region_is_far() -> None:
    assert EU_A.distance(US_A) == 2


def test_priorities_have_no_gap() -> None:
    assert priorities(EU_A, [EU_A, US_A]) == {EU_A: 0, US_A: 1}
    assert priorities(EU_A, [US_A]) == {US_A: 0}


def test_zones_without_a_region_are_compared_too() -> None:
    assert priorities(Place("", "a"), [Place("", "a"), Place("", "b")]) == {
        Place("", "a"): 0,
        Place("", "b"): 1,
    }


@pytest.mark.parametrize("replicas", [[EU_A, US_A], [NOWHERE], [NOWHERE, EU_A]])
def test_an_envoy_that_runs_nowhere_in_particular_uses_all_alike(replicas: list[Place]) -> None:
    assert {*priorities(NOWHERE, replicas).values()} == {0}


@given(PLACES, st.sets(PLACES, min_size=1))
def test_priorities_begin_with_0_and_are_contiguous_as_envoy_counts_them(
    here: Place, places: set[Place]
) -> None:
    found = {*priorities(here, places).values()}
    assert found == set(range(len(found)))
