from dataclasses import replace
from itertools import pairwise
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.weighing import Weighing
from controlplane.weighing.tiers import SPAN, Placement, home, placed
from tests.weighing.pools import pool, replica, rounds, settled, weights

PATIENCE = 15.0


def tiers(weighing: Weighing) -> dict[str, str]:
    return {id_: weighed.tier for id_, weighed in weighing.replicas.items()}


def moved_after(before: Weighing, *capacities: float) -> float:
    """Seconds until the last replica changes its tier."""
    weighings = [before, *rounds(pool(*capacities), 200, before)]
    moves = [new.at for old, new in pairwise(weighings) if tiers(old) != tiers(new)]
    return moves[-1] - weighings[1].at if moves else -1.0


def test_replicas_of_one_kind_are_in_one_tier() -> None:
    assert set(tiers(settled(pool(100, 110, 90, 100))).values()) == {"tier-8"}


def test_a_replica_ten_times_slower_ends_in_another_tier() -> None:
    found = tiers(settled(pool(100, 100, 100, 10)))
    assert found["a"] == found["b"] == found["c"] == "tier-8"
    assert found["d"] != "tier-8"


@settings(max_examples=30)
@given(st.lists(st.floats(10, 1000), min_size=2, max_size=10))
def test_a_tier_spans_a_factor_of_little_more_than_the_span(capacities: list[float]) -> None:
    weighing = settled(pool(*capacities), seconds=60)
    spans: dict[str, list[float]] = {}
    for weighed in weighing.replicas.values():
        spans.setdefault(weighed.tier, []).append(weighed.state.relative)
    for shares in spans.values():
        # The margin of a band on both sides, and the dead band of each share.
        assert max(shares) / min(shares) <= SPAN * 1.1**2 * 1.01


def test_in_a_tier_all_weights_are_the_mean() -> None:
    weighing = settled(pool(100, 100, 100, 82, 120))
    assert set(tiers(weighing).values()) == {"tier-8"}
    assert len(set(weights(weighing).values())) == 1


def test_a_replica_changes_its_tier_after_three_windows() -> None:
    before = settled(pool(100, 100, 100, 100))
    moved = moved_after(before, 100, 100, 100, 50)
    # Half is seen within seconds, and then it waits.
    assert PATIENCE <= moved <= PATIENCE + 6


def test_a_replica_off_by_more_than_three_times_changes_its_tier_at_once() -> None:
    before = settled(pool(100, 100, 100, 100))
    assert moved_after(before, 100, 100, 100, 10) <= 2


def test_a_dip_shorter_than_three_windows_changes_no_tier() -> None:
    before = settled(pool(100, 100, 100, 100))
    dip = rounds(pool(100, 100, 100, 50), 25, before)[-1]
    assert moved_after(dip, 100, 100, 100, 100) == -1


def test_a_replica_at_the_edge_of_its_band_does_not_go_to_and_fro() -> None:
    edge = log(SPAN) / 2
    for band, beyond in ((0, edge + log(1.09)), (1, edge - log(1.09))):
        assert home([Placement(band, earned=True)], beyond, 0.0) == band
    assert home([Placement(0, earned=True)], edge + log(1.11), 0.0) == 1


def test_replicas_of_one_kind_that_chance_has_split_belong_where_most_are() -> None:
    both = [Placement(0, earned=True), Placement(0, earned=True), Placement(1, earned=True)]
    assert home(both, log(SPAN) / 2, 0.0) == 0
    assert home([Placement(1), Placement(0, earned=True)], log(SPAN) / 2, 0.0) == 0


def test_a_replica_that_was_unknown_before_is_placed_at_once() -> None:
    never = Placement(0)
    assert placed(never, 2, 2 * log(SPAN), 0.0, PATIENCE, 0.0, earned=True).band == 2
    known = Placement(0, earned=True)
    waiting = placed(known, 1, log(SPAN), 0.0, PATIENCE, 0.0, earned=True)
    assert (waiting.band, waiting.leaving) == (0, 1)


def test_a_pool_is_placed_within_seconds_of_its_first_requests() -> None:
    weighing = rounds(pool(400, 400, 100, 100, 100, 100), 5)[-1]
    assert weighing.at == 2
    found = tiers(weighing)
    assert found["a"] == found["b"]
    assert found["a"] < found["c"] == found["f"]


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3])
def test_when_requests_become_longer_for_all_no_tier_changes(factor: float) -> None:
    before = settled(pool(400, 400, 100, 100, 20))
    assert moved_after(before, *(factor * each for each in (400, 400, 100, 100, 20))) == -1


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_when_requests_become_much_longer_for_all_the_same_replicas_share_tiers_afterwards(
    factor: float,
) -> None:
    capacities = (400, 400, 100, 100, 20)
    before = settled(pool(*capacities))
    after = settled(pool(*(factor * each for each in capacities)), before, seconds=90)
    bands = [[it.state.placement.band for it in w.replicas.values()] for w in (before, after)]
    assert len({old - new for old, new in zip(*bands, strict=True)}) == 1


def test_a_median_that_jumps_from_one_kind_to_another_renames_no_tier() -> None:
    before = settled(pool(100, 100, 25, 25))
    joined = settled(pool(100, 100, 25, 25, 100, 100), before)
    assert {id_: tiers(joined)[id_] for id_ in "abcd"} == tiers(before)
    left = settled(pool(100, 100), joined)
    assert {id_: tiers(left)[id_] for id_ in "ab"} == {id_: tiers(before)[id_] for id_ in "ab"}


def test_of_two_replicas_the_one_that_became_slow_is_moved() -> None:
    before = settled(pool(100, 100))
    slow = settled(pool(100, 10), before)
    assert tiers(slow)["a"] == tiers(before)["a"]
    assert tiers(slow)["b"] != tiers(before)["b"]
    assert tiers(settled(pool(100, 100), slow)) == tiers(before)


def test_a_replica_that_is_cut_stays_in_its_tier_while_it_drains() -> None:
    others = pool(100, 100, 100, 100)[1:]
    nearly = settled([replica("a", 100, memory=0.96), *others])
    full = settled([replica("a", 100, memory=0.99), *others], nearly)
    assert tiers(nearly)["a"] != "tier-8"
    assert tiers(full) == tiers(nearly)


def test_similar_replicas_that_chance_has_split_come_together_again() -> None:
    before = settled(pool(100, 100, 100, 100))
    apart = {
        id_: weighed._replace(
            state=replace(
                weighed.state, placement=replace(weighed.state.placement, band=int(id_ in "ab"))
            ),
        )
        for id_, weighed in before.replicas.items()
    }
    weighing = settled(pool(100, 100, 100, 100), replace(before, replicas=apart))
    assert len(set(tiers(weighing).values())) == 1


def test_a_place_is_earned_with_two_hundred_requests() -> None:
    def earned(count: int) -> set[bool]:
        weighing = rounds(pool(100, 100), count)[-1]
        return {it.state.placement.earned for it in weighing.replicas.values()}

    # Each round brings 25.
    assert earned(8) == {False}
    assert earned(9) == {True}
