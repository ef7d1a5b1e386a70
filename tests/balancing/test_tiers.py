"""Which replicas share a tier, and when one changes it."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.balancing.tiers import MARGIN, SPAN
from tests.balancing.pools import (
    Play,
    Serving,
    played,
    pool,
    relatives,
    settled,
    tiers,
    weights,
)

PATIENCE = 15.0


def moved_after(play: Play, *capacities: float, seconds: float = 40) -> float:
    """Seconds until the last replica changes its tier; -1: none does."""
    assert play.decision is not None
    begin, before = play.now, play.decision
    decisions = [before, *play.all_of(pool(*capacities), seconds)]
    moves = [new.at for old, new in pairwise(decisions) if tiers(old) != tiers(new)]
    return moves[-1] - begin if moves else -1.0


def test_replicas_of_one_kind_are_in_one_tier() -> None:
    assert len({*tiers(settled(pool(100, 110, 90, 100))).values()}) == 1


def test_the_median_is_in_the_same_tier_in_every_pool() -> None:
    slow, fast = (tiers(settled(pool(*[each] * 3)))["a"] for each in (1, 10_000))
    assert slow == fast


def test_a_replica_ten_times_slower_ends_in_another_tier() -> None:
    found = tiers(settled(pool(100, 100, 100, 10)))
    assert found["a"] == found["b"] == found["c"] != found["d"]


@settings(max_examples=12)
@given(st.lists(st.floats(10, 1000), min_size=2, max_size=10))
def test_a_tier_spans_a_factor_of_little_more_than_its_band(capacities: list[float]) -> None:
    decision = settled(pool(*capacities), seconds=60)
    spans: dict[str, list[float]] = {}
    for id_, tier in tiers(decision).items():
        spans.setdefault(tier, []).append(relatives(decision)[id_])
    for members in spans.values():
        assert max(members) / min(members) <= SPAN * MARGIN**2 * 1.01


def test_in_a_tier_all_weights_are_alike() -> None:
    decision = settled(pool(100, 100, 100, 75, 130))
    assert not decision.equal
    assert len({*tiers(decision).values()}) == 1
    assert len({*weights(decision).values()}) == 1


def test_a_replica_that_is_somewhat_off_changes_its_tier_after_three_windows() -> None:
    play = played(pool(100, 100, 100, 100), 60)
    assert PATIENCE <= moved_after(play, 100, 100, 100, 45) <= PATIENCE + 15


def test_a_replica_that_is_far_off_changes_its_tier_at_once() -> None:
    play = played(pool(100, 100, 100, 100), 60)
    assert 0 < moved_after(play, 100, 100, 100, 5) <= 4


def test_a_dip_shorter_than_three_windows_changes_no_tier() -> None:
    play = played(pool(100, 100, 100, 100), 60)
    assert moved_after(play, 100, 100, 100, 45, seconds=10) == -1
    assert moved_after(play, 100, 100, 100, 100) == -1


def test_a_replica_at_the_edge_of_its_band_does_not_go_to_and_fro() -> None:
    edge = 100 / SPAN**0.5
    play = played(pool(100, 100, 100, edge * 1.05), 60)
    for capacity in (edge * 0.95, edge * 1.05, edge * 0.95):
        assert moved_after(play, 100, 100, 100, capacity, seconds=60) == -1
    for capacity in (edge / 1.3,):
        assert moved_after(play, 100, 100, 100, capacity, seconds=90) > 0


def test_a_pool_is_placed_within_seconds_of_its_first_requests() -> None:
    found = tiers(settled(pool(400, 400, 100, 100, 100, 100), 2))
    assert found["a"] == found["b"]
    assert found["c"] == found["d"] == found["e"] == found["f"] != found["a"]


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3])
def test_when_all_become_slower_or_faster_no_tier_changes(factor: float) -> None:
    capacities = (400, 400, 100, 100, 20)
    play = played(pool(*capacities))
    assert moved_after(play, *(factor * each for each in capacities)) == -1


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_when_all_change_a_lot_the_same_replicas_share_tiers_afterwards(factor: float) -> None:
    capacities = (400, 400, 100, 100, 20)
    play = played(pool(*capacities))
    assert play.decision is not None
    before = play.decision.state.band.copy()
    after = play.run(pool(*(factor * each for each in capacities)), 90)
    rows = [*after.rows.values()]
    assert len({*(after.state.band[rows] - before[rows])}) == 1


def test_a_median_that_jumps_from_one_kind_to_another_renames_no_tier() -> None:
    play = played(pool(100, 100, 25, 25))
    assert play.decision is not None
    before = tiers(play.decision)
    joined = tiers(play.run(pool(100, 100, 25, 25, 100, 100)))
    assert {id_: joined[id_] for id_ in "abcd"} == before
    left = tiers(play.run(pool(100, 100)))
    assert left == {id_: before[id_] for id_ in "ab"}


def test_of_two_replicas_the_one_that_became_slow_is_moved() -> None:
    play = played(pool(100, 100))
    assert play.decision is not None
    before = tiers(play.decision)
    slow = tiers(play.run(pool(100, 10)))
    assert slow["a"] == before["a"]
    assert slow["b"] != before["b"]
    assert tiers(play.run(pool(100, 100))) == before


def test_similar_replicas_that_chance_has_split_come_together_again() -> None:
    play = played(pool(100, 100, 100, 100))
    assert play.decision is not None
    state = play.decision.state
    band = state.band.copy()
    band[[play.decision.rows[id_] for id_ in "ab"]] = 1
    play.decision = replace(play.decision, state=replace(state, band=band))
    assert len({*tiers(play.run(pool(100, 100, 100, 100))).values()}) == 1


def test_a_place_is_earned_by_requests() -> None:
    few, many = (settled(pool(100, 100), seconds) for seconds in (2, 20))
    assert not few.state.earned.any()
    rows = [*many.rows.values()]
    assert many.state.earned[rows].all()


def test_nobody_moves_without_a_reason_while_a_pool_goes_on_as_it_is() -> None:
    replicas = pool(400, 400, 100, 100, 50, 20)
    decisions = played(replicas).all_of(replicas, 60)
    assert {tuple(tiers(each).items()) for each in decisions} == {
        tuple(tiers(decisions[0]).items())
    }


def test_a_replica_that_leaves_takes_its_tier_with_it_and_no_other_is_renamed() -> None:
    play = played(pool(100, 100, 100, 10))
    assert play.decision is not None
    before = tiers(play.decision)
    assert tiers(play.run(pool(100, 100, 100), 5)) == {id_: before[id_] for id_ in "abc"}


def test_bands_are_whole_numbers_near_nought() -> None:
    """Floor and ceiling bound them, whatever replicas claim."""
    decision = settled({**pool(100, 100, 100, 1e9, 1e-3), "f": Serving(latency=1e-9)}, 60)
    assert np.abs(decision.state.band).max() <= 6
