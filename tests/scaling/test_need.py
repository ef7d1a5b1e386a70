"""So many replicas as keep the objective, and no more."""

import numpy as np
import pytest

from controlplane.balancing.fleet import Fleet, fleet_of
from controlplane.balancing.prediction import Flow
from controlplane.scaling import Need
from controlplane.scaling.demand import ClassDemand, Typical
from controlplane.scaling.rule import Load, floor_of, need_of

TYPICAL = Typical(capacity=2700.0, start=0.03, budget=2048.0, slots=1.0, are_batches=1.0)
MEAN = 100.0


def fleet(*speeds: float) -> Fleet:
    many = len(speeds)
    return fleet_of(
        [f"r{n}" for n in range(many)],
        TYPICAL.capacity * np.asarray(speeds, dtype=float),
        np.full(many, TYPICAL.start),
        np.full(many, TYPICAL.budget),
        np.ones(many),
        np.ones(many),
    )


def demand(tokens: float, of: Fleet, objective: float | None = None) -> ClassDemand:
    flow = Flow(tokens / MEAN, MEAN, 2 * MEAN**2, 5 * MEAN)
    return ClassDemand("", "all requests", flow, of, objective=objective)


def need(
    tokens: float,
    of: Fleet,
    objective: float | None = None,
    coming: tuple[str, ...] = (),
    floor: float = 0.0,
    typical: Typical | None = TYPICAL,
) -> Need:
    asked = demand(tokens, of, objective)
    return need_of(asked, Load(tokens, floor), coming, typical, 4, 0.8)


@pytest.mark.parametrize("have", [0, 1, 5, 9, 30])
def test_what_is_needed_does_not_depend_on_how_many_there_are(have: int) -> None:
    assert need(10_000.0, fleet(*[1.0] * have)).wanted == 5
    assert need(10_000.0, fleet(*[1.0] * have), 1.0).wanted == need(10_000.0, fleet(), 1.0).wanted


def test_a_tighter_objective_needs_more() -> None:
    counts = [need(10_000.0, fleet(1.0), goal).wanted for goal in (60.0, 0.5, 0.35)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_with_what_is_wanted_the_predicted_p99_keeps_the_objective() -> None:
    found = need(10_000.0, fleet(1.0), 0.6)
    assert found.p99 is not None
    assert found.p99 <= 0.6
    assert found.is_reachable


def test_an_objective_below_what_a_long_request_takes_alone_is_not_chased() -> None:
    found = need(10_000.0, fleet(1.0), 0.05)
    assert not found.is_reachable
    assert found.wanted == 5


def test_replicas_that_start_count_as_typical_ones() -> None:
    found = need(10_000.0, fleet(1.0, 1.0, 1.0), coming=("new-1", "new-2"))
    assert found.wanted == 5
    assert not found.spare


def test_who_starts_goes_first_and_then_the_slowest() -> None:
    found = need(2_000.0, fleet(4.0, 0.5, 1.0), coming=("new",))
    assert found.wanted == 1
    assert found.spare == ("new", "r1", "r2")


def test_fast_replicas_are_missed_more_than_typical_ones_replace() -> None:
    """Two replicas four times as fast carry what eight typical ones do."""
    assert need(17_000.0, fleet(4.0, 4.0)).wanted == 2
    assert need(19_000.0, fleet(4.0, 4.0)).wanted == 3


def test_nothing_to_do_needs_nothing() -> None:
    found = need(0.0, fleet(1.0, 1.0))
    assert (found.wanted, found.spare) == (0, ("r0", "r1"))


def test_where_nothing_is_measured_the_class_keeps_what_it_has() -> None:
    found = need(10_000.0, fleet(1.0, 1.0), typical=None)
    assert (found.wanted, found.spare, found.utilization) == (2, (), None)


def test_a_backlog_takes_capacity_beyond_what_comes() -> None:
    assert need(10_000.0, fleet(1.0), floor=20_000.0).wanted == 8


def test_a_backlog_that_is_gone_before_a_new_replica_serves_takes_none() -> None:
    assert floor_of(1_000.0, 5_000.0, fleet(1.0), {}, TYPICAL, 60.0) == 0.0


def test_a_backlog_is_worked_off_in_a_third_of_a_start_once_new_replicas_serve() -> None:
    found = floor_of(5_400.0, 0.0, fleet(1.0), {}, TYPICAL, 60.0)
    assert found == pytest.approx(5_400.0 + 2_700.0 * 60 / 20)


def test_what_starts_already_works_a_backlog_off() -> None:
    half_there = {"new": 30.0}
    without = floor_of(5_400.0, 0.0, fleet(1.0), {}, TYPICAL, 60.0)
    assert floor_of(5_400.0, 0.0, fleet(1.0), half_there, TYPICAL, 60.0) < without
