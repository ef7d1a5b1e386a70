"""A decision outlives the control plane, and nothing that Envoys hold changes by that."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.balancing import Decision, Table, decide
from controlplane.balancing.restart import (
    differing,
    pool_data,
    replica_data,
    restored,
    without_counters,
)
from controlplane.config import PoolSettings
from tests.balancing.pools import (
    SETTINGS,
    Play,
    capacities,
    drained,
    played,
    pool,
    settings_of,
    tiers,
    weights,
)

FLEET = pool(100.0, 80.0, 10.0)
WORDS = "the control plane was restarted"


def kept(decision: Decision) -> tuple[Any, dict[str, tuple[Mapping[str, Any], int]]]:
    """What is kept of it, once through JSON."""
    data = {id_: (json.loads(json.dumps(replica_data(decision, id_))), 0) for id_ in decision.rows}
    return json.loads(json.dumps(pool_data(decision))), data


def again(play: Play, now: float = 9000.0) -> Decision:
    """The decision as it is after a restart, at another time of another clock."""
    assert play.decision is not None
    found = restored(*kept(play.decision), now)
    assert found is not None
    return found


def held(play: Play, decision: Decision, now: float = 9000.0) -> Decision:
    """The next decision, before anything was read."""
    table = Table(play.inputs[id_] for id_ in decision.rows)
    return decide(decision, play.settings, table, now, hold=WORDS)


@pytest.mark.parametrize("settings", [SETTINGS, settings_of(policy="weighted-least-request")])
def test_envoys_are_told_the_same(settings: PoolSettings) -> None:
    play = played(FLEET, settings=settings)
    assert play.decision is not None
    for decision in (again(play), held(play, again(play))):
        assert weights(decision) == weights(play.decision)
        assert tiers(decision) == tiers(play.decision)


def test_what_replicas_carry_is_known() -> None:
    play = played(FLEET)
    assert play.decision is not None
    found = held(play, again(play))
    assert capacities(found) == pytest.approx(capacities(play.decision), rel=0.05)
    assert found.of("a").steps[0].words == WORDS


def test_a_replica_that_was_cut_for_its_memory_stays_cut() -> None:
    play = played({**FLEET, **pool(100.0, memory=0.99)})
    assert drained(held(play, again(play))) == {"a"}


def test_one_that_started_slowly_stays_in_its_tier_while_nothing_may_change() -> None:
    play = played(pool(100.0, 100.0, 100.0))
    joins = pool(*[100.0] * 4)
    joins["d"] = pool(100.0, ready_since=play.now)["a"]
    before = play.step(joins)
    assert tiers(before)["d"].startswith("starting-")
    after = held(play, again(play))
    assert (tiers(after), weights(after)) == (tiers(before), weights(before))


def test_data_of_another_version_is_as_good_as_none() -> None:
    play = played(FLEET)
    assert play.decision is not None
    of_pool, of_replicas = kept(play.decision)
    old = {"tier": "tier-8", "weight": 1000, "guard": [False, False], "estimate": None}
    assert restored(of_pool, dict.fromkeys(of_replicas, (old, 0)), 0.0) is None
    assert restored({"policy": "capacity-tiers", "sizes": None}, of_replicas, 0.0) is None
    found = restored(of_pool, {**of_replicas, "a": (old, 0)}, 0.0)
    assert found is not None
    assert found.rows.keys() == {"b", "c"}


def test_other_data_is_kept_of_those_of_whom_anything_was_learned() -> None:
    play = played(FLEET)
    before = play.decide()
    assert differing(before, play.decide()) == []
    some = {**FLEET, **{id_: pool(10.0, silent=True)["a"] for id_ in ("b", "c")}}
    assert differing(before, play.step(some)) == ["a"]
    assert differing(None, before) == ["a", "b", "c"]


def test_counters_of_another_source_are_no_requests_and_what_was_known_stays() -> None:
    play = played(FLEET)
    assert play.decision is not None
    before = capacities(play.decision)
    play.decision = without_counters(play.decision)
    for counters in play._counters.values():
        counters.requests += 1e6
        counters.total += 1e3
    assert capacities(play.step(FLEET)) == pytest.approx(before, rel=0.01)
