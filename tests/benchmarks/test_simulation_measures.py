"""What the simulation makes of latencies and of weighings."""

from dataclasses import replace

import pytest

from benchmarks.simulation.measures import Stillness, ratios, run_of, stillness_of
from controlplane.weighing import ReplicaWeighing, Weighing, weigh
from tests.weighing.pools import SETTINGS, pool

WEIGHING = weigh(None, SETTINGS, pool(100), 0.0)
(PATTERN,) = WEIGHING.replicas.values()
SPEEDS = (4.0, 1.0, 1.0)


def told(share: float, tier: str = "tier-8", weight: int = 1000) -> ReplicaWeighing:
    return PATTERN._replace(share=share, tier=tier, weight=weight, drained=False)


def weighed(at: float, *replicas: ReplicaWeighing) -> Weighing:
    named = {f"{number}": each for number, each in enumerate(replicas)}
    return replace(WEIGHING, at=at, replicas=named)


FAIR = (told(4 / 6, "tier-4"), told(1 / 6), told(1 / 6))
APART = (told(4 / 6, "tier-4"), told(1 / 6), told(1 / 6, "tier-9"))
HEAVY = (told(4 / 6, "tier-4"), told(1 / 6, weight=1100), told(1 / 6))


def test_percentiles_are_in_milliseconds() -> None:
    found = run_of([0.1] * 98 + [0.5] * 2, None)
    assert (found.p50, found.p99) == pytest.approx((100.0, 500.0))


def test_weights_that_stand_still_and_are_right_come_to_nothing() -> None:
    found = stillness_of([weighed(at, *FAIR) for at in (0.0, 30.0, 60.0)], SPEEDS, 0.0)
    assert found == Stillness(pushes=0.0, moves=0.0, split=0.0, error=found.error)
    assert found.error == pytest.approx(0.0)


def test_changes_are_counted_per_minute_and_those_of_the_warm_up_are_not() -> None:
    told_of = [APART, FAIR, HEAVY, APART, APART]
    weighings = [weighed(30.0 * number, *each) for number, each in enumerate(told_of)]
    found = stillness_of(weighings, SPEEDS, since=30.0)
    # In a minute and a half one weight, then one weight and one tier.
    assert found.pushes == pytest.approx(2 / 1.5)
    assert found.moves == pytest.approx(1 / 1.5)


def test_equal_replicas_in_different_tiers_are_split_and_different_ones_are_not() -> None:
    told_of = [FAIR, APART, FAIR, FAIR]
    weighings = [weighed(10.0 * number, *each) for number, each in enumerate(told_of)]
    assert stillness_of(weighings, SPEEDS, 0.0).split == 0.25


def test_the_error_of_a_share_is_a_part_of_the_true_one() -> None:
    off = (told(2 / 6), told(2 / 6), told(2 / 6))
    found = stillness_of([weighed(0.0, *off), weighed(60.0, *off)], SPEEDS, 0.0)
    # Half of what is right, and twice as much of the other two.
    assert found.error == pytest.approx(((0.5**2 + 1 + 1) / 3) ** 0.5)


def test_ratios_are_ours_over_theirs_with_the_same_seed() -> None:
    assert ratios([10, 30, 30], [20, 30, 20]) == (1.0, 0.5, 1.5)
