from itertools import pairwise
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks.balance.scenario import MEAN_TOKENS, Scenario
from benchmarks.balance.schedule import arrivals
from benchmarks.balance.table import ROWS, SCENARIOS, Wanted


def test_the_same_seed_sends_the_same_requests() -> None:
    assert list(arrivals(1, 100, 5)) == list(arrivals(1, 100, 5))
    assert list(arrivals(1, 100, 5)) != list(arrivals(2, 100, 5))


def test_nothing_is_sent_after_the_end() -> None:
    assert 4.5 < max(it.at for it in arrivals(1, 100, 5)) < 5


def test_arrivals_have_the_rate_and_the_mean_size() -> None:
    schedule = list(arrivals(1, 100, 1000))
    assert len(schedule) == pytest.approx(100_000, rel=0.02)
    assert fmean(it.tokens for it in schedule) == pytest.approx(MEAN_TOKENS, rel=0.02)


def test_sizes_are_heavy_tailed() -> None:
    sizes = sorted(it.tokens for it in arrivals(1, 100, 1000))
    # Median exp(−½) and 99th percentile exp(2.326 − ½) times the mean.
    assert sizes[len(sizes) // 2] == pytest.approx(60.7, rel=0.02)
    assert sizes[len(sizes) * 99 // 100] == pytest.approx(621, rel=0.05)


def test_load_is_a_part_of_what_all_replicas_together_can_serve() -> None:
    scenario = Scenario("x", 1, speeds=(4.0, 1.0), load=0.5, slots=2, token_seconds=0.001)
    assert scenario.capacity == pytest.approx(100)
    assert scenario.rate == pytest.approx(50)


def test_fast_replicas_should_get_what_they_can_carry() -> None:
    scenario = SCENARIOS["mixed-80"]
    assert scenario.fast == {0, 1}
    assert scenario.fair_to_fast == pytest.approx(8 / 14)


def test_stretched_service_times_leave_the_load_as_it_is() -> None:
    scenario = SCENARIOS["mixed-80"]
    stretched = scenario.stretched(2)
    assert stretched.rate == pytest.approx(scenario.rate / 2)
    assert stretched.rate / stretched.capacity == pytest.approx(0.8)


def test_a_replica_that_joins_is_not_ready_at_first() -> None:
    assert SCENARIOS["cold-80"].ready_at_first == 7
    assert SCENARIOS["equal-80"].ready_at_first == 8


def test_every_row_has_a_scenario_and_wants_something_with_one_sidecar_and_with_many() -> None:
    for row in ROWS:
        assert row.scenario in SCENARIOS
        assert row.wanted(1) is row.one
        assert row.wanted(2) is row.wanted(12) is row.many


def test_what_happens_to_replicas_happens_while_requests_count() -> None:
    for scenario in SCENARIOS.values():
        timing = scenario.timing
        times = [change.at for change in scenario.changes if change.at]
        times += [scenario.joins] if scenario.joins is not None else []
        times += [scenario.filling.begin, scenario.filling.end] if scenario.filling else []
        assert all(timing.warm_up < at < timing.total for at in times)


def test_every_replica_is_in_the_end_as_fast_as_a_scenario_says() -> None:
    for scenario in SCENARIOS.values():
        factors = [1.0] * len(scenario.speeds)
        for change in scenario.changes:
            factors[change.replica] *= change.factor
        assert factors == pytest.approx([1.0] * len(factors))


def test_a_replica_is_slow_or_cold_for_as_long_as_its_row_says() -> None:
    slowed, back = SCENARIOS["slowed-55"].changes
    assert (slowed.factor, back.at - slowed.at) == (10.0, 20)
    cold = SCENARIOS["cold-80"]
    first, warm = cold.changes
    assert cold.joins is not None
    assert (first.at, first.factor, warm.at - cold.joins) == (0, 5.0, 10)


def test_speeds_are_spread_from_one_to_four_by_the_same_factor() -> None:
    speeds = SCENARIOS["spread-80"].speeds
    assert (speeds[0], len(speeds)) == (1, 12)
    assert speeds[-1] == pytest.approx(4)
    assert {round(after / before, 9) for before, after in pairwise(speeds)} == {
        round(4 ** (1 / 11), 9)
    }


def wanted_in_words(wanted: Wanted) -> str:
    """As the documentation has it."""
    parts = []
    if wanted.p99 is not None:
        parts.append(f"{'p99 ' if wanted.p50 else ''}≤ {wanted.p99} ×")
    if wanted.p50 is not None:
        parts.append(f"p50 ≤ {wanted.p50} ×")
    parts += ["no weight change"] * wanted.still + ["no error"] * wanted.no_error
    parts += ["no out-of-memory error where each peer has some"] * wanted.no_out_of_memory
    return ", ".join(parts) or "–"


def test_what_is_wanted_is_what_the_documentation_says() -> None:
    page = Path(__file__, "../../../docs/benchmarks.md").resolve().read_text()
    table = page.partition("| Scenario | What happens |")[2].partition("\n\n")[0].splitlines()[2:]
    told = []
    for line in table:
        scenario, _, one, many = (cell.strip() for cell in line.strip("|").split("|"))
        names = (
            ["mixed-60", "mixed-80", "mixed-90"]
            if "`-80`" in scenario
            else [scenario.split("`")[1]]
        )
        one, many = (it if "p50" in many else it.removeprefix("p99 ") for it in (one, many))
        told += [
            (name, one.removeprefix("p99 "), one if many == "the same" else many) for name in names
        ]
    rows = [(row.scenario, wanted_in_words(row.one), wanted_in_words(row.many)) for row in ROWS]
    assert told == rows
