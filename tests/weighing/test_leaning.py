"""Which tiers get more and less for now, by what they have in line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.damping import CEILING, FLOOR
from controlplane.weighing.explanation import explain
from controlplane.weighing.leaning import LEAST, MOST, Lean, leaned, leans

TIERS = {"f": "fast", "g": "fast", "s": "slow", "t": "slow"}
SHARES = {"f": 3.0, "g": 3.0, "s": 1.0, "t": 1.0}


def lines(fast: float, slow: float) -> dict[str, float]:
    return {"f": fast, "g": fast, "s": slow, "t": slow}


def factors(found: dict[str, Lean]) -> dict[str, float]:
    return {name: lean.factor for name, lean in found.items()}


def test_what_a_tier_gets_less_over_the_horizon_is_what_it_has_in_line_more_than_the_pool() -> None:
    # In the mean over work the pool has (6 × 0 + 2 × 0.4) / 8 = 0.1 s in line.
    found = leans({}, TIERS, SHARES, lines(0.0, 0.4), 1.0)
    assert factors(found) == pytest.approx({"fast": 1.1, "slow": 0.7})
    assert factors(leans({}, TIERS, SHARES, lines(0.0, 0.4), 0.8)) == pytest.approx(
        {"fast": 1 + 0.1 / 0.8, "slow": 1 - 0.3 / 0.8}
    )


@given(
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0.1, 100),
    st.floats(0.05, 10),
    st.floats(0.05, 10),
)
def test_what_one_tier_gets_less_others_get_more_until_a_limit(
    fast: float, slow: float, seconds: float, of_fast: float, of_slow: float
) -> None:
    shares = {"f": of_fast, "g": of_fast, "s": of_slow, "t": of_slow}
    found = factors(leans({}, TIERS, shares, lines(fast, slow), seconds))
    assert all(1 - MOST <= factor <= 1 + MOST for factor in found.values())
    both = [found.get("fast", 1.0), found.get("slow", 1.0)]
    if all(abs(it - 1) not in (0, MOST) for it in both):
        assert of_fast * both[0] + of_slow * both[1] == pytest.approx(of_fast + of_slow)
    assert (both[0] - 1) * (both[1] - 1) <= 0


def test_equal_lines_are_no_reason_however_long_they_are() -> None:
    assert leans({}, TIERS, SHARES, lines(30.0, 30.0), 1.0) == {}


def test_a_pool_of_one_tier_leans_nowhere() -> None:
    assert leans({}, dict.fromkeys(TIERS, "one"), SHARES, lines(0.0, 9.0), 1.0) == {}


def test_a_tier_whose_lines_nobody_counts_stays_as_it_is() -> None:
    tiers = {**TIERS, "x": "unseen"}
    found = leans({}, tiers, {**SHARES, "x": 9.0}, lines(0.0, 0.4), 1.0)
    assert factors(found) == pytest.approx({"fast": 1.1, "slow": 0.7})
    assert leans({}, tiers, SHARES, {"f": 5.0}, 1.0) == {}


def test_a_line_at_one_that_gets_next_to_nothing_is_of_no_matter() -> None:
    shares = {**SHARES, "t": FLOOR}
    found = leans({}, TIERS, shares, {**lines(0.0, 0.0), "t": 1.0}, 1.0)
    assert found == {}


def test_a_lean_is_told_anew_only_when_it_differs_by_more_than_noise() -> None:
    first = leans({}, TIERS, SHARES, lines(0.0, 0.4), 1.0)
    alike = leans(first, TIERS, SHARES, lines(0.0, 0.4 + LEAST), 1.0)
    assert alike == first
    assert leans(first, TIERS, SHARES, lines(0.0, 0.4 + 2 * LEAST), 1.0)["slow"] != first["slow"]


def test_a_lean_ends_where_there_is_next_to_nothing_left_of_it() -> None:
    first = leans({}, TIERS, SHARES, lines(0.0, 0.4), 1.0)
    # The pool has a quarter of it in line: 0.75 of what slow replicas have is too much.
    for slow, left in ((0.8 * LEAST / 0.75, True), (0.4 * LEAST / 0.75, False)):
        assert ("slow" in leans(first, TIERS, SHARES, lines(0.0, slow), 1.0)) is left
        assert leans({}, TIERS, SHARES, lines(0.0, slow), 1.0) == {}


def test_shares_stay_within_the_limits_of_all_shares() -> None:
    assert Lean(1 + MOST, 0.0, 1.0).of(CEILING) == CEILING
    assert Lean(1 - MOST, 1.0, 0.0).of(FLOOR) == FLOOR
    assert Lean(0.8, 1.0, 0.0).of(2.0) == pytest.approx(1.6)
    found = leaned(SHARES, TIERS, {"slow": Lean(0.8, 1.0, 0.0)})
    assert found == pytest.approx({"f": 3.0, "g": 3.0, "s": 0.8, "t": 0.8})


def test_it_says_what_is_in_line() -> None:
    said = explain([Lean(0.7, 0.4, 0.1).step(2.0)])
    assert said == ("its tier has 400 ms of work in line, the pool 100 ms: ×0.70",)
