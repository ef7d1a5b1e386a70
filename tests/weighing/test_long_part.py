"""The part of the work that is long: assumed at first, then more and more as it was measured."""

from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.long_part import (
    ASSUMED,
    KEPT,
    NOTHING,
    SPREAD,
    SURE,
    Tally,
    multiple,
    part_beyond,
)


@given(st.floats(0.01, 0.99))
def test_the_part_beyond_a_multiple_is_the_one_that_it_was_chosen_for(part: float) -> None:
    assert part_beyond(multiple(part)) == pytest.approx(part)


def test_a_multiple_has_so_much_of_lognormal_work_beyond_it() -> None:
    random = Random(1)  # noqa: S311 - to be repeated
    lengths = [random.lognormvariate(-0.5, 1) for _ in range(200_000)]
    beyond = sum(it for it in lengths if it > multiple(0.3))
    assert beyond / sum(lengths) == pytest.approx(0.3, abs=0.01)


def test_where_nothing_was_measured_it_is_what_was_assumed() -> None:
    assert NOTHING.part(0.4) == 0.4
    assert not NOTHING.surely_exceeds(0.0)
    assert Tally(0.0, 0.0, 10.0).part(0.4) < 0.4, "requests without a token are not long"


def test_as_many_requests_as_the_assumption_is_worth_meet_it_half_way() -> None:
    assert Tally(60.0, 100.0, ASSUMED).part(0.2) == pytest.approx(0.3)
    assert Tally(60.0, 100.0, 1e6 * ASSUMED).part(0.2) == pytest.approx(0.4)


@pytest.mark.parametrize(("short", "part"), [(-5.0, 1.0), (150.0, 0.0)])
def test_a_part_is_between_nothing_and_everything(short: float, part: float) -> None:
    assert Tally(short, 100.0, 1e9).part(0.5) == pytest.approx(part, abs=1e-6)


def test_few_requests_do_not_exceed_anything_beyond_doubt_and_many_do() -> None:
    everything = Tally(0.0, 100.0, 4.0)
    assert not everything.surely_exceeds(0.5)
    enough = (SURE * SPREAD / 0.5) ** 2
    assert not Tally(0.0, 100.0, 0.99 * enough).surely_exceeds(0.5)
    assert Tally(0.0, 100.0, 1.01 * enough).surely_exceeds(0.5)


def test_the_standard_error_is_that_of_lognormal_lengths() -> None:
    random, requests, errors = Random(1), 300, []  # noqa: S311 - to be repeated
    for _ in range(300):
        lengths = [random.lognormvariate(-0.5, 1) for _ in range(requests)]
        slow = sum(it for it in lengths if it < multiple(0.37) and random.random() < 0.7)
        tally = NOTHING.plus(slow / 0.7, sum(lengths), requests)
        # By what was measured alone.
        part = 0.0 + tally.part(0.0) * (requests + ASSUMED) / requests
        errors.append(part - 0.37)
    spread = sqrt(sum(it**2 for it in errors) / len(errors) * requests)
    assert SPREAD / 1.4 < spread < SPREAD * 1.1


def test_what_is_too_long_ago_fades() -> None:
    tally = NOTHING.plus(100.0, 200.0, KEPT)
    later = tally.plus(0.0, 0.0, KEPT)
    assert (later.short, later.total) == (50.0, 100.0)
    assert later.requests == 1.5 * KEPT
    assert NOTHING.plus(10.0, 20.0, 5.0).plus(10.0, 20.0, 5.0) == Tally(20.0, 40.0, 10.0)
