"""Which replicas serve short requests and which long ones, from predictions: tables, no pool."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.balancing import candidates
from controlplane.balancing.candidates import Demand, Fleet, fast_set, fleet_of
from controlplane.balancing.parting import (
    GROW_AFTER,
    PART_AFTER,
    SHRINK_AFTER,
    TOGETHER_AFTER,
    TOO_MUCH,
    Looked,
    Parting,
    looked,
)
from controlplane.balancing.prediction import Flow

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
    return Demand(1_000, short, long, enough)


class Looking:
    """Looks at a fleet every second."""

    def __init__(self, of: Fleet | None = None, what: Demand | None = None) -> None:
        self.fleet, self.demand = of or fleet(), what or demand()
        self.fast: Demand | None = None
        self.looked, self.now, self.waits, self.bulk_waits = Looked(), 0.0, math.nan, math.nan

    def go_on(self, seconds: float, *, every: float = 1.0) -> Parting | None:
        for _ in range(round(seconds / every)):
            self.now += every
            self.looked = looked(
                self.looked,
                self.fleet,
                self.demand,
                self.fast,
                4,
                NOTICE,
                self.waits,
                self.bulk_waits,
                self.now,
            )
        return self.looked.parting

    def until(self, wanted: float = 200) -> float:
        """Seconds until the set for searches is another; -1: it stays."""
        before, begin = self._own(), self.now
        while self.now - begin < wanted:
            self.go_on(1)
            if self._own() != before:
                return self.now - begin
        return -1.0

    def _own(self) -> frozenset[str] | None:
        return None if self.looked.parting is None else self.looked.parting.own


def parted(**more: object) -> Looking:
    looking = Looking(**more)  # type: ignore[arg-type]
    looking.go_on(PART_AFTER + 10)
    assert looking.looked.parting is not None
    return looking


def test_searches_and_bulk_are_parted_once_that_has_been_wanted_for_ten_seconds() -> None:
    looking = Looking()
    assert looking.go_on(PART_AFTER - 1) is None
    found = looking.go_on(6)
    assert found is not None
    assert (found.kind, found.threshold) == ("apart", 1_000)
    assert found.forecast is not None
    assert found.together is not None
    assert found.forecast.search < found.together.search


def test_envoys_get_time_to_check_the_replicas_of_a_new_cluster() -> None:
    looking = Looking()
    while looking.looked.parting is None:
        looking.go_on(1)
    found = looking.looked.parting
    assert not found.is_in_force(looking.now)
    assert found.is_in_force(looking.now + NOTICE)


def test_a_wish_that_is_interrupted_begins_anew() -> None:
    looking = Looking()
    looking.go_on(PART_AFTER - 2)
    looking.demand = demand(bulk_tokens=32.0)
    looking.go_on(3)
    looking.demand = demand()
    assert looking.go_on(PART_AFTER - 2) is None
    assert looking.go_on(5) is not None


def test_searches_get_the_slowest_replicas() -> None:
    found = parted().looked.parting
    assert found is not None
    assert all(id_.startswith("s") for id_ in found.own)
    assert 1 <= len(found.own) < 6


def test_of_equal_replicas_the_first_by_id_are_taken() -> None:
    same = dict.fromkeys(("h", "c", "a", "g", "b", "f", "e", "d"), 1.0)
    found = parted(of=fleet(same), what=demand(of=fleet(same))).looked.parting
    assert found is not None
    assert sorted(found.own) == sorted(same)[: len(found.own)]


@settings(max_examples=10, deadline=None)
@given(st.permutations(sorted(SPEEDS)))
def test_the_order_in_which_replicas_are_given_does_not_matter(order: list[str]) -> None:
    other = fleet({id_: SPEEDS[id_] for id_ in order})
    assert other.ids == fleet().ids
    ours, theirs = parted().looked.parting, parted(of=other).looked.parting
    assert ours == theirs


def test_requests_of_one_kind_are_not_parted() -> None:
    looking = Looking(what=demand(bulk_tokens=64.0))
    assert looking.go_on(60) is None


def test_few_samples_part_nothing() -> None:
    assert Looking(what=demand(enough=False)).go_on(60) is None


def test_without_samples_nothing_changes() -> None:
    looking = parted()
    before = looking.looked.parting
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
    before = looking.looked.parting
    assert before is not None
    own = sum(TOKENS * SPEEDS[id_] for id_ in before.own)
    short = replace(looking.demand.short, rate=1.2 * own / 16)
    looking.demand = replace(looking.demand, short=short)
    assert 0 < looking.until() <= 3
    after = looking.looked.parting
    assert after is not None
    assert after.own > before.own
    (new,) = [*after.own - before.own][:1]
    assert after.joined[new] == pytest.approx(looking.now, abs=3)


def test_a_set_whose_searches_wait_doubles_and_bulk_keeps_what_it_needs() -> None:
    looking = parted(what=demand(0.4))
    found = looking.go_on(60)
    assert found is not None
    sizes = [len(found.own)]
    looking.waits = 10.0
    for _ in range(8):
        found = looking.go_on(1.0)
        assert found is not None
        sizes.append(len(found.own))
    assert sizes[1] == 2 * sizes[0]
    assert sizes[2] == 4 * sizes[0]
    assert sizes[-1] > sizes[2]
    rest = sum(TOKENS * SPEEDS[id_] for id_ in SPEEDS if id_ not in found.own)
    assert rest >= looking.demand.long.tokens


def set_of(count: int, looking: Looking) -> None:
    """Let searches have so many of the slowest replicas."""
    found = looking.looked.parting
    assert found is not None
    own = frozenset(looking.fleet.ids[:count])
    asked = (count, looking.now)
    looking.looked = replace(looking.looked, parting=replace(found, own=own, asked=asked))


def test_a_set_that_could_be_better_grows_after_a_while_and_shrinks_sooner() -> None:
    looking = parted()
    found = looking.looked.parting
    assert found is not None
    best = len(found.own)
    assert looking.until() == -1
    set_of(best + 2, looking)
    assert SHRINK_AFTER <= looking.until() <= SHRINK_AFTER + 5
    grows = parted()
    busy = demand(0.5, bulk=0.02)
    grows.demand = busy
    grows.go_on(SHRINK_AFTER + GROW_AFTER + 20)
    settled = grows.looked.parting
    assert settled is not None
    if len(settled.own) > 1:
        set_of(1, grows)
        if busy.short.tokens < candidates.SEARCH_FULL * TOKENS:
            assert GROW_AFTER <= grows.until() <= GROW_AFTER + 5


def test_what_is_asked_for_in_turn_with_its_opposite_is_not_done() -> None:
    looking = parted()
    found = looking.looked.parting
    assert found is not None
    best = len(found.own)
    set_of(best + 2, looking)
    before = looking.looked.parting
    assert before is not None
    for _ in range(10):
        looking.go_on(SHRINK_AFTER / 2)
        # For a look the set is as it is wanted to be.
        looking.looked = replace(
            looking.looked, parting=replace(before, asked=(best + 2, looking.now))
        )
        assert looking.go_on(2) is not None
        assert looking.looked.parting is not None
        assert looking.looked.parting.own == before.own


def test_without_one_of_the_classes_requests_are_together_again_after_ten_minutes() -> None:
    looking = parted()
    looking.demand = replace(looking.demand, long=replace(looking.demand.long, rate=0.0))
    assert looking.go_on(TOGETHER_AFTER - 20, every=10) is not None
    assert looking.go_on(40, every=10) is None


def test_a_class_that_comes_back_in_time_is_parted_as_before() -> None:
    looking = parted()
    both = looking.demand
    looking.demand = replace(both, long=replace(both.long, rate=0.0))
    looking.go_on(TOGETHER_AFTER / 2, every=10)
    looking.demand = both
    looking.go_on(5)
    looking.demand = replace(both, long=replace(both.long, rate=0.0))
    assert looking.go_on(TOGETHER_AFTER / 2 + 20, every=10) is not None


def test_bulk_that_waits_longer_than_it_would_together_is_together_with_searches_again() -> None:
    looking = parted()
    found = looking.looked.parting
    assert found is not None
    assert found.together is not None
    looking.bulk_waits = 0.9 * found.together.bulk
    assert looking.go_on(60) is not None
    looking.bulk_waits = 1.1 * found.together.bulk
    assert looking.go_on(TOO_MUCH - 1) is not None
    assert looking.go_on(3) is None


def test_where_nobody_can_carry_it_all_searches_keep_their_replicas() -> None:
    looking = parted()
    looking.demand, looking.bulk_waits = demand(1.1), 1e9
    assert looking.go_on(60) is not None


def test_searches_never_get_the_last_replica_also_while_there_is_no_bulk() -> None:
    looking = parted()
    total = float(looking.fleet.capacity.sum())
    short = replace(looking.demand.short, rate=0.79 * total / looking.demand.short.mean)
    looking.demand = replace(looking.demand, short=short, long=replace(looking.demand.long, rate=0))
    found = looking.go_on(60)
    assert found is not None
    assert len(found.own) < len(looking.fleet.ids)


def test_a_moment_in_which_bulk_waits_is_no_reason() -> None:
    looking = parted()
    for _ in range(5):
        looking.bulk_waits = 1e3
        assert looking.go_on(TOO_MUCH - 1) is not None
        looking.bulk_waits = 0.0
        assert looking.go_on(3) is not None


def test_a_replica_of_a_set_that_dies_is_replaced_at_once() -> None:
    looking = parted()
    before = looking.looked.parting
    assert before is not None
    dies = sorted(before.own)[0]
    looking.fleet = fleet(without=[dies])
    after = looking.go_on(1)
    assert after is not None
    assert dies not in after.own
    assert len(after.own) == len(before.own)
    assert after.own >= before.own - {dies}


def test_both_sets_have_a_replica_whoever_dies() -> None:
    looking = parted()
    left = dict(SPEEDS)
    for dies in ("f1", "s0", "f0", "s5", "s1", "s2"):
        del left[dies]
        looking.fleet = fleet(left)
        found = looking.go_on(2)
        assert found is None or (found.own & left.keys() and left.keys() - found.own)
    looking.fleet = fleet({"s3": 1.0})
    assert looking.go_on(2) is None
    looking.fleet = fleet({})
    assert looking.go_on(2) is None


def test_when_all_replicas_for_bulk_die_one_of_the_others_takes_their_place() -> None:
    looking = parted()
    found = looking.looked.parting
    assert found is not None
    for short, long in ((1.0, 1.0), (0.1, 0.01), (0.1, 0.0), (0.0, 0.1), (0.0, 0.0)):
        some = parted()
        some.fleet = fleet({id_: SPEEDS[id_] for id_ in found.own})
        flows = looking.demand.short, looking.demand.long
        some.demand = replace(
            looking.demand,
            short=replace(flows[0], rate=short * flows[0].rate),
            long=replace(flows[1], rate=long * flows[1].rate),
        )
        after = some.go_on(30)
        assert after is None or after.own <= found.own
        if long == 0.01:
            assert after is None or after.own < found.own


def test_a_replica_that_joins_changes_no_set_by_itself() -> None:
    looking = parted()
    before = looking.looked.parting
    assert before is not None
    looking.fleet = fleet({**SPEEDS, "a0": 1.0})
    after = looking.go_on(5)
    assert after is not None
    assert after.own == before.own


# Long requests to the fast replicas.


def spread_demand(above: float) -> Demand:
    """Sizes without classes."""
    total = 0.8 * float(fleet().capacity.sum())
    short = Flow((1 - above) * total / 50, 50.0, 5_000.0, 200.0)
    long = Flow(above * total / 300, 300.0, 1.2e5, 900.0)
    return Demand(700, short, long, enough=True)


def spread_out() -> Looking:
    looking = Looking(what=spread_demand(0.4))
    looking.fast = spread_demand(0.4)
    return looking


def test_sizes_without_classes_let_long_requests_go_to_the_fast_replicas() -> None:
    found = spread_out().go_on(10)
    assert found is not None
    assert found.kind == "long to fast"
    assert found.own == {"f0", "f1"}
    assert found.part == pytest.approx(0.4)


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
    assert found.own == {"f0"}
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
    assert found.kind == "apart"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=60),
    st.floats(0.05, 1.3),
    st.floats(0.001, 0.9),
)
def test_whatever_the_fleet_a_set_is_a_part_of_it_and_leaves_somebody(
    speeds: list[float], load: float, bulk: float
) -> None:
    some = fleet({f"r{i}": speed for i, speed in enumerate(speeds)})
    found = Looking(of=some, what=demand(load, bulk=bulk, of=some)).go_on(PART_AFTER + 5)
    if found is not None:
        assert found.own
        assert found.own < set(some.ids)
        assert found.forecast is not None
        assert math.isfinite(found.forecast.search)


def test_hundreds_of_replicas_are_decided_from_a_few_candidates() -> None:
    many = fleet({f"r{i}": 1.0 + 3 * (i % 4 == 0) for i in range(800)})
    found = parted(of=many, what=demand(of=many)).looked.parting
    assert found is not None
    assert 8 < len(found.own) < 400
