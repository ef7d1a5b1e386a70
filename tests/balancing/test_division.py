"""Which replicas serve short requests and which long ones, from predictions: tables, no pool."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.balancing.demand import Demand
from controlplane.balancing.division import (
    BETTER,
    LASTING,
    PART_AFTER,
    TOGETHER_AFTER,
    TOO_MUCH,
    Division,
    Given,
    divided,
)
from controlplane.balancing.fleet import Fleet, fast_set, fleet_of
from controlplane.balancing.prediction import Flow
from controlplane.balancing.table import BULK, DEFAULT

NOTICE = 3.0
SPEEDS = {"f0": 4.0, "f1": 4.0, **{f"s{i}": 1.0 for i in range(6)}}
TOKENS = 2_700.0


def fleet(speeds: dict[str, float] = SPEEDS, *, without: Iterable[str] = ()) -> Fleet:
    """Batching replicas of these speeds."""
    ids = [id_ for id_ in speeds if id_ not in without]
    capacity = np.array([TOKENS * speeds[id_] for id_ in ids])
    size = len(ids)
    return fleet_of(
        ids,
        capacity,
        np.full(size, 0.015),
        np.full(size, 4_096.0),
        np.ones(size),
        np.ones(size, np.bool_),
    )


def demand(
    load: float = 0.7,
    *,
    bulk: float = 0.1,
    bulk_tokens: float = 2_000.0,
    of: Fleet | None = None,
    enough: bool = True,
) -> Demand:
    """Searches of 16 tokens, and a part of all requests that are bulk."""
    total = load * float((of or fleet()).capacity.sum())
    rate = total / ((1 - bulk) * 16 + bulk * bulk_tokens)
    short = Flow(rate * (1 - bulk), 16.0, 256.0, 16.0)
    long = Flow(rate * bulk, bulk_tokens, bulk_tokens**2, bulk_tokens)
    return Demand({DEFAULT: short, BULK: long}, 1_000, enough)


class Looking:
    """Looks at a fleet every second."""

    def __init__(self, of: Fleet | None = None, what: Demand | None = None) -> None:
        self.fleet, self.demand = of or fleet(), what or demand()
        self.fast: Demand | None = None
        self.division, self.now = Division(), 0.0
        self.waits = {DEFAULT: math.nan, BULK: math.nan}
        self.waited = 0.0

    @property
    def own(self) -> frozenset[str]:
        """The replicas for searches."""
        return self.division.sets.get(DEFAULT, frozenset())

    def go_on(self, seconds: float, *, every: float = 1.0) -> Division | None:
        """Return the division; None where requests are together."""
        for _ in range(round(seconds / every)):
            self.now += every
            self.division = divided(
                self.division,
                Given(
                    self.fleet,
                    self.demand,
                    self.fast,
                    self.waits,
                    4,
                    NOTICE,
                    self.now,
                    waited=self.waited,
                ),
            )
        return self.division if self.division.is_planned else None

    def until(self, wanted: float = 200) -> float:
        """Seconds until the set for searches is another; -1: it stays."""
        before, begin = self.own, self.now
        while self.now - begin < wanted:
            self.go_on(1)
            if self.own != before:
                return self.now - begin
        return -1.0

    def comes(self, name: str, times: float) -> None:
        """So many times the requests of a class."""
        flow = self.demand.flows[name]
        flows = {**self.demand.flows, name: replace(flow, rate=times * flow.rate)}
        self.demand = replace(self.demand, flows=flows)


def parted(**more: object) -> Looking:
    looking = Looking(**more)  # type: ignore[arg-type]
    looking.go_on(PART_AFTER + 10)
    assert looking.division.rest == BULK
    return looking


def test_searches_and_bulk_are_divided_once_that_has_been_wanted_for_two_seconds() -> None:
    looking = Looking()
    assert looking.go_on(PART_AFTER - 1) is None
    found = looking.go_on(6)
    assert found is not None
    assert (found.rest, found.threshold) == (BULK, 1_000)
    assert found.forecasts[DEFAULT] < found.together[DEFAULT]


def test_envoys_get_time_to_check_the_replicas_of_a_new_cluster() -> None:
    looking = Looking()
    while looking.go_on(1) is None:
        pass
    assert not looking.division.is_in_force(looking.now)
    assert looking.division.is_in_force(looking.now + NOTICE)


def test_a_wish_that_is_interrupted_begins_anew() -> None:
    looking = Looking()
    looking.go_on(PART_AFTER - 2)
    looking.demand = demand(bulk_tokens=32.0)
    looking.go_on(3)
    looking.demand = demand()
    assert looking.go_on(PART_AFTER - 2) is None
    assert looking.go_on(5) is not None


def test_searches_get_the_slowest_replicas() -> None:
    own = parted().own
    assert all(id_.startswith("s") for id_ in own)
    assert 1 <= len(own) < 6


def test_of_equal_replicas_the_first_by_id_are_taken() -> None:
    same = dict.fromkeys(("h", "c", "a", "g", "b", "f", "e", "d"), 1.0)
    own = parted(of=fleet(same), what=demand(of=fleet(same))).own
    assert sorted(own) == sorted(same)[: len(own)]


@settings(max_examples=10)
@given(st.permutations(sorted(SPEEDS)))
def test_the_order_in_which_replicas_are_given_does_not_matter(order: list[str]) -> None:
    other = fleet({id_: SPEEDS[id_] for id_ in order})
    assert other.ids == fleet().ids
    assert parted().division == parted(of=other).division


def test_requests_of_one_kind_are_not_parted() -> None:
    looking = Looking(what=demand(bulk_tokens=64.0))
    assert looking.go_on(60) is None


def test_few_samples_part_nothing() -> None:
    assert Looking(what=demand(enough=False)).go_on(60) is None


def test_without_samples_nothing_changes() -> None:
    looking = parted()
    before = looking.division
    looking.demand = None  # type: ignore[assignment]
    assert looking.go_on(60) == before
    fresh = Looking()
    fresh.demand = None  # type: ignore[assignment]
    assert fresh.go_on(60) is None


@pytest.mark.parametrize("speeds", [{"a": 1.0}, {}])
def test_fewer_than_two_replicas_are_never_parted(speeds: dict[str, float]) -> None:
    some = fleet(speeds)
    assert Looking(of=some, what=demand()).go_on(60) is None


def test_where_bulk_would_not_fit_requests_stay_together() -> None:
    two = fleet({"a": 1.0, "b": 1.0})
    assert Looking(of=two, what=demand(0.9, of=two)).go_on(60) is None


def test_a_set_grows_at_once_when_it_is_full() -> None:
    looking = parted()
    before = looking.own
    looking.comes(DEFAULT, 1.2 * sum(TOKENS * SPEEDS[id_] for id_ in before) / searches(looking))
    assert 0 < looking.until() <= 3
    assert looking.own > before
    new, *_ = looking.own - before
    assert looking.division.joined[new] == pytest.approx(looking.now, abs=3)


def test_a_set_that_is_full_grows_also_where_classes_hardly_gain_any_more() -> None:
    looking = parted(what=demand(0.3))
    set_of(1, looking)
    looking.comes(BULK, 0.1)
    looking.comes(DEFAULT, 1.2 * TOKENS / searches(looking))
    assert 0 < looking.until() <= 3
    assert looking.division.forecasts


def searches(looking: Looking) -> float:
    """Tokens per second of searches."""
    return looking.demand.flows[DEFAULT].tokens


def set_of(count: int, looking: Looking) -> None:
    """Let searches have so many of the slowest replicas."""
    sets = {DEFAULT: frozenset(looking.fleet.ids[:count])}
    looking.division = replace(looking.division, sets=sets, since=math.nan)


def test_a_set_whose_searches_wait_doubles_and_bulk_keeps_what_it_needs() -> None:
    looking = parted(what=demand(0.4))
    set_of(1, looking)
    sizes = [len(looking.own)]
    looking.waits[DEFAULT] = 10.0
    for _ in range(4):
        looking.go_on(1.0)
        sizes.append(len(looking.own))
    assert sizes[1] == 2 * sizes[0]
    assert sizes[2] == 4 * sizes[0]
    assert sizes[-1] > sizes[2]
    rest = sum(TOKENS * SPEEDS[id_] for id_ in SPEEDS if id_ not in looking.own)
    assert rest >= looking.demand.flows[BULK].tokens


def test_a_division_that_is_much_better_takes_the_place_of_another_after_a_while() -> None:
    looking = parted()
    best = looking.own
    assert looking.until() == -1
    set_of(4, looking)
    assert LASTING <= looking.until() <= LASTING + 5
    assert looking.own == best


def test_one_that_is_hardly_better_does_not() -> None:
    looking = parted()
    set_of(len(looking.own) + 1, looking)
    ours = looking.go_on(1)
    assert ours is not None
    best = parted().division
    gain = sum(
        math.log(ours.forecasts[name] / best.forecasts[name]) / 2 for name in (DEFAULT, BULK)
    )
    assert 0 < gain < BETTER
    assert looking.until(100) == -1


def test_what_is_better_for_a_moment_only_is_not_done() -> None:
    looking = parted()
    set_of(4, looking)
    worse, before = looking.division, looking.own
    for _ in range(10):
        looking.go_on(LASTING / 2)
        # For a look the set is as good as any.
        looking.division = parted().division
        looking.go_on(2)
        looking.division = replace(worse, at=looking.now)
        assert looking.own == before


def test_without_one_of_the_classes_requests_are_together_again_after_ten_minutes() -> None:
    looking = parted()
    looking.comes(BULK, 0.0)
    assert looking.go_on(TOGETHER_AFTER - 20, every=10) is not None
    assert looking.go_on(40, every=10) is None


def test_a_class_that_comes_back_in_time_is_parted_as_before() -> None:
    looking = parted()
    both = looking.demand
    looking.comes(BULK, 0.0)
    looking.go_on(TOGETHER_AFTER / 2, every=10)
    looking.demand = both
    looking.go_on(5)
    looking.comes(BULK, 0.0)
    assert looking.go_on(TOGETHER_AFTER / 2 + 20, every=10) is not None


def test_bulk_that_waits_longer_than_it_would_together_is_together_with_searches_again() -> None:
    looking = parted()
    together = looking.division.together[BULK]
    looking.waits[BULK] = 0.9 * together
    assert looking.go_on(60) is not None
    looking.waits[BULK] = 1.1 * together
    assert looking.go_on(TOO_MUCH - 1) is not None
    assert looking.go_on(3) is None


def test_where_nobody_can_carry_it_all_searches_keep_their_replicas() -> None:
    looking = parted()
    looking.demand, looking.waits[BULK] = demand(1.1), 1e9
    assert looking.go_on(60) is not None


def test_searches_are_parted_from_workers_that_keep_all_replicas_busy() -> None:
    """A worker sends its next request when the last one is answered: no division carries that."""
    looking = Looking(what=demand(1.02))
    assert looking.go_on(PART_AFTER + 3) is not None
    assert looking.division.rest == BULK
    assert looking.division.forecasts[DEFAULT] < 1.0
    assert looking.go_on(60) is not None


def test_just_below_that_no_division_that_leaves_bulk_too_little_is_chosen() -> None:
    looking = Looking(what=demand(0.97))
    assert looking.go_on(60) is None


def test_what_waits_of_workers_wherever_it_goes_leaves_classes_apart() -> None:
    apart = {}
    for waited in (0.0, 20.0):
        looking = Looking(what=demand(1.02))
        looking.waited = waited
        looking.go_on(PART_AFTER + 10)
        # Parted, bulk has less and so asks for less.
        looking.demand, looking.waits[BULK] = demand(0.9), 25.0
        apart[waited] = looking.go_on(TOO_MUCH + 2) is not None
    assert apart == {0.0: False, 20.0: True}


def test_where_no_division_carries_all_searches_that_wait_go_together_with_bulk_sooner() -> None:
    looking = parted()
    looking.demand = demand(0.965)
    looking.go_on(1)
    together = looking.division.together[DEFAULT]
    looking.waits[DEFAULT] = 0.15 * together
    assert looking.go_on(30) is not None
    looking.waits[DEFAULT] = 0.25 * together
    assert looking.go_on(TOO_MUCH + 1) is None


def test_a_class_whose_forecast_is_next_to_nothing_gets_no_replicas_for_that() -> None:
    """A twentieth of the p99 without classes is little: what batches cost is only estimated."""
    grown = {}
    for part in (0.09, 0.12):
        looking = parted()
        own, together = len(looking.own), looking.division.together[DEFAULT]
        nothing = {**looking.division.forecasts, DEFAULT: 1e-3}
        looking.division = replace(looking.division, forecasts=nothing)
        looking.waits[DEFAULT] = part * together
        looking.go_on(0.5, every=0.5)
        grown[part] = len(looking.own) > own
    assert grown == {0.09: False, 0.12: True}


def test_searches_never_get_the_last_replica_also_while_there_is_no_bulk() -> None:
    looking = parted()
    total = float(looking.fleet.capacity.sum())
    looking.comes(DEFAULT, 0.79 * total / searches(looking))
    looking.comes(BULK, 0.0)
    assert looking.go_on(60) is not None
    assert 0 < len(looking.own) < len(looking.fleet.ids)


@pytest.mark.parametrize("name", [DEFAULT, BULK])
def test_classes_that_no_division_can_carry_are_together_again(name: str) -> None:
    looking = parted()
    looking.demand = demand(0.97)
    assert looking.go_on(10) is not None
    assert looking.division.forecasts == {}
    looking.waits[name] = 1e9
    assert looking.go_on(TOO_MUCH + 1) is None


def test_bulk_is_hardly_slower_than_without_classes_where_searches_can_spare_a_replica() -> None:
    looking = parted(what=demand(0.75, bulk=0.02))
    known = looking.division
    assert known.forecasts[BULK] < 1.1 * known.together[BULK]
    assert known.forecasts[DEFAULT] < 0.2 * known.together[DEFAULT]
    # Of more replicas searches would gain some more, and bulk would lose.
    set_of(len(looking.own) + 2, looking)
    more = looking.go_on(1)
    assert more is not None
    assert more.forecasts[DEFAULT] < known.forecasts[DEFAULT]
    assert more.forecasts[BULK] > 1.1 * more.together[BULK]


def test_about_equal_replicas_do_not_change_sides_when_a_set_grows() -> None:
    looking = parted()
    own = looking.own
    # By a little the replicas of the set are now the fastest of the slow ones.
    looking.fleet = fleet({**SPEEDS, **dict.fromkeys(own, 1.1)})
    own_tokens = sum(TOKENS * SPEEDS[id_] for id_ in own)
    looking.comes(DEFAULT, 1.2 * own_tokens / searches(looking))
    assert looking.until() > 0
    assert looking.own > own


def test_a_moment_in_which_bulk_waits_is_no_reason() -> None:
    looking = parted()
    for _ in range(5):
        looking.waits[BULK] = 1e3
        assert looking.go_on(TOO_MUCH - 1) is not None
        looking.waits[BULK] = 0.0
        assert looking.go_on(3) is not None


def test_a_replica_of_a_set_that_dies_is_replaced_at_once() -> None:
    looking = parted()
    before = looking.own
    dies = sorted(before)[0]
    looking.fleet = fleet(without=[dies])
    assert looking.go_on(1) is not None
    assert dies not in looking.own
    assert len(looking.own) == len(before)
    assert looking.own >= before - {dies}


def test_both_sets_have_a_replica_whoever_dies() -> None:
    looking = parted()
    left = dict(SPEEDS)
    for dies in ("f1", "s0", "f0", "s5", "s1", "s2"):
        del left[dies]
        looking.fleet = fleet(left)
        own = looking.own if looking.go_on(2) is not None else None
        assert own is None or (own & left.keys() and left.keys() - own)
    looking.fleet = fleet({"s3": 1.0})
    assert looking.go_on(2) is None
    looking.fleet = fleet({})
    assert looking.go_on(2) is None


def test_when_all_replicas_for_bulk_die_one_of_the_others_takes_their_place() -> None:
    own = parted(what=demand(0.6, bulk=0.02)).own
    assert len(own) > 1
    for short, long in ((1.0, 1.0), (0.1, 0.01), (0.1, 0.0), (0.0, 0.1), (0.0, 0.0)):
        some = parted(what=demand(0.6, bulk=0.02))
        some.fleet = fleet({id_: SPEEDS[id_] for id_ in own})
        some.comes(DEFAULT, short)
        some.comes(BULK, long)
        after = some.go_on(30)
        assert after is None or some.own <= own
        if long == 0.01:
            assert after is None or some.own < own


def test_a_replica_that_joins_changes_no_set_by_itself() -> None:
    looking = parted()
    before = looking.own
    looking.fleet = fleet({**SPEEDS, "a0": 1.0})
    looking.go_on(5)
    assert looking.own == before
    assert looking.division.members(BULK, ["a0"]).all()


# Long requests to the fast replicas.


def spread_demand(above: float) -> Demand:
    """Sizes without classes."""
    total = 0.8 * float(fleet().capacity.sum())
    short = Flow((1 - above) * total / 50, 50.0, 5_000.0, 200.0)
    long = Flow(above * total / 300, 300.0, 1.2e5, 900.0)
    return Demand({DEFAULT: short, BULK: long}, 700, explained=0.7)


def spread_out() -> Looking:
    looking = Looking(what=spread_demand(0.4))
    looking.fast = spread_demand(0.4)
    return looking


def test_sizes_without_classes_let_long_requests_go_to_the_fast_replicas() -> None:
    found = spread_out().go_on(10)
    assert found is not None
    assert (found.rest, {**found.sets}) == (None, {BULK: frozenset(("f0", "f1"))})
    assert found.parts[BULK] == pytest.approx(spread_demand(0.4).parts[BULK])


def test_equal_replicas_have_no_fast_ones() -> None:
    assert fast_set(fleet(dict.fromkeys("abcd", 1.0))) == frozenset()
    assert fast_set(fleet({"a": 1.0})) == frozenset()
    # Neither have those that are only a little faster, or too few to matter.
    assert fast_set(fleet({"a": 1.0, "b": 1.0, "c": 1.4})) == frozenset()
    few = {f"s{i}": 1.0 for i in range(40)} | {"f": 2.0}
    assert fast_set(fleet(few)) == frozenset()


def test_a_fast_replica_that_dies_or_slows_down_is_none_any_more() -> None:
    looking = spread_out()
    looking.go_on(10)
    looking.fleet = fleet(without=["f1"])
    found = looking.go_on(2)
    assert found is not None
    assert found.sets == {BULK: {"f0"}}
    looking.fleet = fleet({**SPEEDS, "f0": 1.0, "f1": 1.0})
    assert looking.go_on(2) is None


def test_a_threshold_moves_only_when_it_is_far_off() -> None:
    looking = spread_out()
    looking.go_on(10)
    assert looking.fast is not None
    looking.fast = replace(looking.fast, threshold=750)
    found = looking.go_on(5)
    assert found is not None
    assert found.threshold == 700
    looking.fast = replace(looking.fast, threshold=2_000)
    found = looking.go_on(5)
    assert found is not None
    assert found.threshold == 2_000


def test_classes_that_appear_take_the_place_of_long_and_short() -> None:
    looking = spread_out()
    looking.go_on(10)
    looking.demand = demand()
    found = looking.go_on(PART_AFTER + 10)
    assert found is not None
    assert found.rest == BULK


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=60),
    st.floats(0.05, 1.3),
    st.floats(0.001, 0.9),
)
def test_whatever_the_fleet_a_set_is_a_part_of_it_and_leaves_somebody(
    speeds: list[float], load: float, bulk: float
) -> None:
    some = fleet({f"r{i}": speed for i, speed in enumerate(speeds)})
    looking = Looking(of=some, what=demand(load, bulk=bulk, of=some))
    found = looking.go_on(PART_AFTER + 5)
    if found is not None:
        assert looking.own
        assert looking.own < set(some.ids)
        assert math.isfinite(found.forecasts[DEFAULT])


def test_hundreds_of_replicas_are_decided_from_a_few_candidates() -> None:
    many = fleet({f"r{i}": 1.0 + 3 * (i % 4 == 0) for i in range(800)})
    assert 8 < len(parted(of=many, what=demand(of=many)).own) < 400
