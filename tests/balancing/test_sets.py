"""Classes of requests by size: which replicas get which, whatever happens to replicas."""

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest

from controlplane.balancing import Decision
from controlplane.balancing.division import Division
from controlplane.balancing.frame import Frame
from controlplane.balancing.sets import titles
from controlplane.config import PoolSettings, validated
from controlplane.telemetry.sizes import Sizes
from tests.balancing.pools import (
    Play,
    Serving,
    capacities,
    drained,
    pool,
    settings_of,
    shares,
    tiers,
    weights,
)

SPEEDS = (1.0, 1.0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25)
"""Two fast replicas, a and b, and six slow ones."""
SEARCH, BULK = "", "bulk"


def sampled(bulk: float = 0.1, *, of: int = 8_000) -> Sizes:
    """Searches of a hundred bytes, and a part of all requests that are bulk."""
    sizes = Sizes()
    many = round(400 * bulk)
    sizes.add([100] * (400 - many) + [of] * many, 0.0)
    return sizes


def spread_out() -> Sizes:
    """Sizes without classes: lognormal, sigma 1."""
    sizes, chance = Sizes(), random.Random(1)  # noqa: S311 - sizes, to be repeated
    sizes.add([round(chance.lognormvariate(6, 1)) for _ in range(2_000)], 0.0)
    return sizes


def batching(*speeds: float, load: float = 0.6, **more: object) -> dict[str, Serving]:
    """Replicas that compute batches of 1000 tokens, of ten texts."""
    found = {}
    for id_, each in pool(*(speeds or SPEEDS)).items():
        took = 0.05 / each.capacity
        requests = 1_000 / took / 218
        found[id_] = replace(
            each, capacity=requests, load=load, tokens=218.0, latency=0.1,
            batch=(1_000.0, took), texts=10.0, **more,  # type: ignore[arg-type]
        )  # fmt: skip
    return found


@cache
def _parted(replicas: tuple[tuple[str, Serving], ...]) -> Play:
    play = Play(sizes=sampled())
    decision = play.run(dict(replicas), 30)
    assert [each.name for each in decision.classes] == [SEARCH, BULK]
    return play


def parted(replicas: Mapping[str, Serving] | None = None) -> Play:
    return _parted(tuple((replicas or batching()).items())).copy()


def served(decision: Decision, name: str) -> set[str]:
    """Ids of the replicas that a class has."""
    (found,) = (each for each in decision.classes if each.name == name)
    return {id_ for id_, row in decision.rows.items() if found.weights[row] > 0}


def nobody_starves(decision: Decision) -> None:
    for each in decision.classes:
        found = served(decision, each.name)
        assert found
        assert not found & drained(decision)
        rows = [decision.rows[id_] for id_ in found]
        assert each.shares[rows].sum() == pytest.approx(1)
    assert sum(shares(decision).values()) == pytest.approx(1)


def test_each_class_has_replicas_of_its_own_and_no_replica_is_without_a_class() -> None:
    decision = parted().decision
    assert decision is not None
    searches, bulk = served(decision, SEARCH), served(decision, BULK)
    assert searches
    assert bulk
    assert not searches & bulk
    assert searches | bulk == {*decision.rows}
    assert {"a", "b"} <= bulk
    assert {each.title for each in decision.classes} == {"search", "bulk"}
    assert decision.of("a").classes == ("bulk",)
    nobody_starves(decision)


def test_the_threshold_is_between_the_classes() -> None:
    decision = parted().decision
    assert decision is not None
    assert 100 < (decision.division.threshold or 0) <= 8_000
    assert 0.5 < decision.division.parts[BULK] < 1


def test_envoys_are_told_only_after_they_had_time_to_check() -> None:
    play = Play(sizes=sampled())
    decisions = play.all_of(batching(), 30)
    known = next(each.at for each in decisions if each.division.is_planned)
    told = next(each.at for each in decisions if each.classes)
    assert told - known >= play.settings.health_check.timeout
    assert all(each.moving for each in decisions if known <= each.at < told)


def test_sizes_of_one_class_are_not_parted() -> None:
    decision = Play(sizes=sampled(of=100)).run(batching(), 30)
    assert not decision.division.is_planned
    assert decision.classes == ()


def test_requests_whose_sizes_nobody_sampled_are_not_parted() -> None:
    for sizes in (None, Sizes()):
        assert Play(sizes=sizes).run(batching(), 30).classes == ()


@pytest.mark.parametrize(
    "balancing",
    [
        {"long_requests": "any-replica"},
        {"policy": "weighted-least-request"},
        {"policy": "round-robin"},
    ],
)
def test_where_users_say_otherwise_requests_are_not_parted(balancing: dict[str, str]) -> None:
    play = Play(settings_of(**balancing), sizes=sampled())
    assert play.run(batching(), 30).classes == ()
    # Neither do they stay parted.
    before = parted()
    before.settings = play.settings
    assert before.step(batching()).classes == ()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("load", [0.1, 0.6, 0.99])
def test_fleets_of_one_and_two_replicas_serve_both_classes(count: int, load: float) -> None:
    for decision in Play(sizes=sampled()).all_of(batching(*[1.0] * count, load=load), 30):
        nobody_starves(decision)
    assert count == 2 or decision.classes == ()


@pytest.mark.parametrize("name", [SEARCH, BULK])
def test_the_last_replica_of_a_class_is_replaced_at_once(name: str) -> None:
    play = parted()
    assert play.decision is not None
    dying = served(play.decision, name)
    left = {id_: each for id_, each in batching().items() if id_ not in dying}
    for replicas in (
        {**left, **{id_: replace(batching()[id_], ready=False) for id_ in dying}},
        left,
    ):
        for decision in play.all_of(replicas, 10):
            nobody_starves(decision)
            assert all(served(decision, each.name) <= left.keys() for each in decision.classes)


def test_replicas_may_die_one_after_the_other_until_none_is_left_and_come_back() -> None:
    for sizes, replicas in ((sampled(), batching()), (spread_out(), pool(400, 400, *(100.0,) * 6))):
        play = Play(sizes=sizes)
        play.run(replicas, 30)
        left = dict(replicas)
        for id_ in "hacbdgfe":
            left[id_] = replace(left[id_], ready=False)
            decisions = play.all_of(left, 2)
            if id_ != "e":
                for decision in decisions:
                    nobody_starves(decision)
        assert play.decision is not None
        assert {*shares(play.decision).values()} == {0}
        for decision in play.all_of(replicas, 30):
            nobody_starves(decision)
        assert len(decision.classes) == 2


@pytest.mark.parametrize("sizes", [sampled(), spread_out()])
def test_a_held_pool_without_a_replica_that_serves_is_decided(sizes: Sizes) -> None:
    replicas = batching() if sizes.quantile(0.5) < 150 else pool(400, 400, *(100.0,) * 6)
    play = Play(sizes=sizes)
    assert play.run(replicas, 30).classes
    off = {id_: replace(each, ready=False) for id_, each in replicas.items()}
    decision = play.step(off, hold="Starting up")
    assert {*shares(decision).values()} == {0}
    assert play.step({}, hold="Starting up").rows == {}
    assert play.step({}).rows == {}


def test_a_pool_that_never_had_a_ready_replica_is_decided() -> None:
    off = {id_: replace(each, ready=False, load=0.0) for id_, each in pool(100, 100).items()}
    for sizes in (None, sampled()):
        decision = Play(sizes=sizes).run(off, 3)
        assert weights(decision) == {"a": 1000, "b": 1000}
        assert shares(decision) == {"a": 0, "b": 0}


def test_full_memory_takes_a_replica_out_of_its_class_and_another_one_in() -> None:
    play = parted()
    assert play.decision is not None
    searches = served(play.decision, SEARCH)
    full = {id_: replace(each, memory=0.5) for id_, each in batching().items()}
    play.run(full, 2)
    first = sorted(searches)[0]
    full[first] = replace(full[first], memory=0.995)
    for decision in play.all_of(full, 10):
        assert drained(decision) == {first}
        nobody_starves(decision)


@pytest.mark.parametrize(("bulk", "factor"), [(0.01, 10.0), (0.9, 10.0)])
def test_a_class_that_grows_tenfold_starves_nobody(bulk: float, factor: float) -> None:
    play = parted(batching(load=0.3))
    grown = sampled(bulk)
    play.sizes = grown
    for decision in play.all_of(batching(load=min(0.3 * factor, 0.99)), 60):
        nobody_starves(decision)


def test_overload_in_one_class_does_not_move_the_other() -> None:
    waits = batching(queue=0.0, are_texts=True)
    play = parted(waits)
    before = play.decision
    assert before is not None
    searches, bulk = served(before, SEARCH), served(before, BULK)
    worst = sorted(bulk)[0]
    after = play.step({**waits, worst: replace(waits[worst], queue=5_000.0)})
    assert tiers(after)[worst].startswith("overloaded")
    nobody_starves(after)
    for id_ in searches:
        assert tiers(after)[id_] == tiers(before)[id_]


def test_a_replica_that_is_overloaded_is_replaced_in_its_class() -> None:
    waits = batching(queue=0.0, are_texts=True)
    play = parted(waits)
    assert play.decision is not None
    searches = play.decision.division.sets[SEARCH]
    worst = sorted(searches)[0]
    after = play.run({**waits, worst: replace(waits[worst], queue=5_000.0)}, 3)
    assert tiers(after)[worst].startswith("overloaded")
    assert worst not in after.division.sets[SEARCH]
    assert len(after.division.sets[SEARCH]) >= len(searches)


def test_a_frozen_pool_stays_parted_as_it_was() -> None:
    play = parted()
    before = play.decision
    assert before is not None
    after = play.run(batching(silent=True), 60)
    assert after.suspect
    for name in (SEARCH, BULK):
        assert served(after, name) == served(before, name)
    nobody_starves(after)


def test_long_requests_go_to_the_fast_replicas_and_short_ones_to_all() -> None:
    decision = Play(sizes=spread_out()).run(pool(400, 400, *(100.0,) * 6), 30)
    assert decision.division.rest is None
    assert served(decision, BULK) == {"a", "b"}
    assert served(decision, SEARCH) == {*"abcdefgh"}
    found = {each.name: each for each in decision.classes}
    row = decision.rows["a"]
    assert found[SEARCH].shares[row] < found[BULK].shares[row]
    # Altogether each has about what it would have, were requests not parted.
    total = sum(capacities(decision).values())
    assert shares(decision)["a"] == pytest.approx(40_000 / total, rel=0.3)
    nobody_starves(decision)


def test_three_equal_replicas_are_not_parted_by_lognormal_sizes() -> None:
    decision = Play(sizes=spread_out()).run(batching(1.0, 1.0, 1.0, load=0.7), 60)
    assert not decision.division.is_planned
    assert weights(decision) == {"a": 1000, "b": 1000, "c": 1000}


def test_each_class_is_named_as_people_read_it() -> None:
    body = settings_of().model_dump(mode="json")
    body["classes"] = [{"name": "x", "match": {"min_bytes": 1}}]
    of_user = validated(PoolSettings, body)
    to_fast = Division(900, {BULK: frozenset("a")})
    assert titles(settings_of(), None) == {"": "search", "bulk": "bulk"}
    assert titles(settings_of(), to_fast) == {"": "short", "bulk": "long"}
    assert titles(of_user, None) == {"x": "x", "": "default"}


def counted(*points: tuple[float, float]) -> Frame:
    """A frame of a pool whose requests were counted at these times."""
    play = Play()
    decision = play.run(pool(100), 2)
    frame = decision.frame
    assert frame is not None
    frame.pool = replace(frame.pool, come=tuple((at, {"": count}) for at, count in points))
    return frame


def test_a_rate_is_counted_over_twenty_seconds() -> None:
    """Ten requests a second, but for the last three seconds by chance a few more."""
    steady = [(float(at), 10.0 * at) for at in range(18)]
    frame = counted(*steady, (18.0, 184.0), (19.0, 195.0), (20.0, 206.0))
    assert frame.rate_of("") == pytest.approx(10.3)


def test_a_rate_that_changes_is_seen_within_three_seconds() -> None:
    steady = [(float(at), 10.0 * at) for at in range(18)]
    frame = counted(*steady, (18.0, 270.0), (19.0, 370.0), (20.0, 470.0))
    assert frame.rate_of("") == pytest.approx(100, rel=0.01)


def test_a_rate_takes_two_seconds_and_a_class_that_is_counted() -> None:
    assert counted((0.0, 0.0), (1.0, 10.0)).rate_of("") is None
    assert counted((0.0, 0.0), (2.0, 10.0)).rate_of("other") is None
