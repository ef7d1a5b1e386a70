"""Requests parted by length where something is lacking, has changed or is out of proportion."""

import math
from dataclasses import replace

import pytest

from controlplane.weighing.fast import LEAST, Member, Seen
from controlplane.weighing.long_part import (
    NOTHING,
    SPREAD,
    SURE,
    Tally,
    multiple,
    part_beyond,
)
from controlplane.weighing.sizes import (
    BRIM,
    ENOUGH,
    HIGH,
    LONGEST_PAUSE,
    LOW,
    MOST,
    OF_FAST,
    PAUSE,
    QUANTUM,
    SETTLED,
    STEP,
    Sizes,
    parted,
)
from tests.weighing.members import FAST, SLOW, member, pool, told

CAPACITY = 8 / 14
"""Part of the pool's work that the fast replicas can do."""


def begun(members: dict[str, Member] | None = None, **changes: object) -> Sizes:
    """Requests that were parted at 0."""
    members = members or pool()
    sizes = parted(None, members, told(None, members), 0.0, 0.0)
    assert sizes is not None
    return replace(sizes, **changes)  # type: ignore[arg-type]


def busy(
    members: dict[str, Member], fast: float, slow: float, requests: float = ENOUGH
) -> dict[str, Member]:
    """They have done so many tokens since the first reading, and so many requests."""
    return {
        id_: replace(it, seen=Seen(0, 1000 + requests, 1e5 + (fast if id_ in FAST else slow)))
        for id_, it in members.items()
    }


def after(sizes: Sizes, members: dict[str, Member], now: float = SETTLED + 1) -> Sizes:
    found = parted(sizes, members, told(sizes, pool()), now, 0.0)
    assert found is not None
    return found


def with_part(sizes: Sizes, part: float, now: float) -> Sizes:
    """After readings from which just this part follows."""
    weights = told(sizes, pool())
    slow = (1 - part) * sum(weights[id_] for id_ in SLOW) / sum(weights.values())
    return after(sizes, busy(pool(), 5e4 * (1 - slow), 1e5 / 6 * slow), now)


def test_no_more_than_half_of_the_work_is_to_be_long_whatever_the_fast_could_do() -> None:
    members = {**pool(), "f0": member(20.0, 2), "f1": member(20.0, 2)}
    assert OF_FAST * 40 / 46 > MOST
    assert begun(members).part == MOST


def test_where_the_faster_ones_can_do_too_little_requests_stay_together() -> None:
    members = {"f": member(4.0, 2), **{f"s{n}": member(1.0, 0) for n in range(20)}}
    assert LEAST > 4 / 24
    assert parted(None, members, told(None, members), 0.0, 0.0) is None


def test_a_reserve_of_the_fast_ones_is_not_taken_for_what_they_can_do() -> None:
    members = {
        id_: replace(it, share=3 * it.share if id_ in FAST else it.share)
        for id_, it in pool().items()
    }
    assert begun(members).part == pytest.approx(OF_FAST * CAPACITY)


def test_a_step_of_the_threshold_is_assumed_to_do_what_it_does_to_lognormal_lengths() -> None:
    low = 0.3 * OF_FAST * CAPACITY
    found = with_part(begun(assumed=low), low, PAUSE + 1)
    assert found.part == found.assumed
    assert found.since == PAUSE + 1
    assert found.assumed == pytest.approx(part_beyond(multiple(low) / STEP))
    assert low + 0.05 < found.assumed


def test_what_was_measured_with_other_fast_replicas_does_not_count() -> None:
    sizes = begun(part=0.3, tally=Tally(600.0, 1000.0, 2 * ENOUGH))
    members = {**pool(), "f2": member(4.0, 2)}
    found = after(sizes, members, 1.0)
    assert found.fast == {"f0", "f1", "f2"}
    assert found.assumed == 0.3
    assert found.tally == NOTHING


def test_a_fast_replica_that_has_gone_raises_the_threshold_by_more_than_a_step() -> None:
    sizes = begun(part=MOST)
    members = {**pool(), "f0": member(0.4, 0)}
    found = parted(sizes, members, told(sizes, members), 1.0, 0.0)
    assert found is not None
    assert found.threshold > STEP**2 * sizes.threshold


def test_tokens_that_went_backwards_are_none() -> None:
    found = after(begun(), busy(pool(), -5000.0, -5000.0))
    assert found.tally.total == found.tally.short == 0.0


def test_requests_without_a_token_say_nothing_about_lengths() -> None:
    sizes = begun()
    found = after(sizes, busy(pool(), 0.0, 0.0))
    assert (found.tally.requests, found.part) == (0.0, sizes.part)


def test_where_slow_replicas_were_told_nothing_they_say_nothing_of_what_is_short() -> None:
    sizes = begun()
    weights = {**told(sizes, pool()), **dict.fromkeys(SLOW, 0.0)}
    found = parted(sizes, busy(pool(), 5000.0, 5000.0), weights, SETTLED + 1, 0.0)
    assert found is not None
    assert found.tally.requests == 0.0


def test_a_first_reading_without_requests_is_no_reason_to_forget_or_to_fail() -> None:
    found = after(begun(), busy(pool(), 100.0, 100.0, requests=0.0))
    assert found.tally.total == pytest.approx(800.0)


def test_what_is_short_is_what_slow_replicas_did_over_what_they_are_told_to_get() -> None:
    sizes = begun()
    weights = told(sizes, pool())
    to_slow = sum(weights[id_] for id_ in SLOW) / sum(weights.values())
    found = after(sizes, busy(pool(), 4000.0, 1000.0))
    assert found.tally.short == pytest.approx(6000.0 / to_slow)
    assert found.tally.total == pytest.approx(14_000.0)


def test_a_part_counts_in_steps_and_stays_where_it_is_within_one() -> None:
    sizes = begun()
    near, far = sizes.part + 0.8 * QUANTUM, sizes.part + 1.3 * QUANTUM
    assert far < BRIM * CAPACITY
    assert with_part(sizes, near, SETTLED + 1).part == sizes.part
    found = with_part(sizes, far, SETTLED + 1).part
    assert found == pytest.approx(round(far / QUANTUM) * QUANTUM)


def test_more_than_the_fast_can_do_moves_the_threshold_before_its_pause_is_over() -> None:
    sizes = begun()
    beyond_doubt = SURE * SPREAD / math.sqrt(8 * ENOUGH)
    assert (
        with_part(sizes, BRIM * CAPACITY + 0.9 * beyond_doubt, PAUSE / 2).threshold
        == sizes.threshold
    )
    too_much = BRIM * CAPACITY + 1.1 * beyond_doubt
    assert with_part(sizes, too_much, PAUSE / 2).threshold > sizes.threshold


@pytest.mark.parametrize(
    ("part", "direction"),
    [(0.9 * HIGH, 0), (1.1 * LOW, 0), (0.7 * LOW, -1)],
    ids=["more", "less", "far less"],
)
def test_the_threshold_moves_only_where_the_part_is_far_off_and_after_its_pause(
    part: float, direction: int
) -> None:
    sizes = begun()
    wanted = OF_FAST * CAPACITY
    assert with_part(sizes, part * wanted, PAUSE / 2).threshold == sizes.threshold
    found = with_part(sizes, part * wanted, PAUSE + 1)
    assert (found.threshold > sizes.threshold) - (found.threshold < sizes.threshold) == direction


def test_each_turn_doubles_the_pause_up_to_a_limit_and_a_further_step_does_not() -> None:
    low = 0.5 * LOW * OF_FAST * CAPACITY
    turned = with_part(begun(turned=1), low, PAUSE + 1)
    assert (turned.pause, turned.turned) == (2 * PAUSE, -1)
    assert with_part(begun(turned=-1), low, PAUSE + 1).pause == PAUSE
    longest = begun(turned=1, pause=LONGEST_PAUSE)
    assert with_part(longest, low, LONGEST_PAUSE + 1).pause == LONGEST_PAUSE
