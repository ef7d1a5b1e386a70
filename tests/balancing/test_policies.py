"""What a pool's balancing policy makes of a decision: tiers, weights of their own, or none."""

from dataclasses import replace
from typing import Any

import pytest

from controlplane.config import Policy, PoolSettings
from tests.balancing.pools import (
    INTERVAL,
    MANY,
    Play,
    Serving,
    capacities,
    drained,
    played,
    pool,
    relatives,
    settings_of,
    settled,
    shares,
    tiers,
    weights,
    words,
)

UNWEIGHED: tuple[Policy, ...] = (
    "least-request",
    "round-robin",
    "client-side-weighted-round-robin",
    "ring-hash",
    "maglev",
)


def by(policy: Policy) -> PoolSettings:
    hashed: dict[str, Any] = {"hash": {"header": "x-user"}} if policy in UNWEIGHED[3:] else {}
    return settings_of(policy=policy, **hashed)


TIERS, WEIGHTED = by("capacity-tiers"), by("weighted-least-request")


def test_each_replica_has_a_weight_of_its_own_where_a_tier_would_have_one_for_all() -> None:
    replicas = pool(100, 100, 100, 130, 70)
    in_tiers, own = (settled(replicas, settings=each) for each in (TIERS, WEIGHTED))
    assert len({*weights(in_tiers).values()}) == 1
    found = weights(own)
    assert found["e"] < 0.85 * found["a"] < 0.85 * 0.85 * found["d"]
    assert {*tiers(own).values()} == {""}
    assert sum(shares(own).values()) == pytest.approx(1)


def test_a_weight_of_its_own_is_told_anew_only_when_it_has_changed_by_more_than_noise() -> None:
    play = played(pool(100, 100, 100, 300), 90, settings=WEIGHTED)
    assert play.decision is not None
    before = weights(play.decision)
    for decision in play.all_of(pool(100, 100, 100, 306), 40):
        assert weights(decision) == before
    assert weights(play.run(pool(100, 100, 100, 450), 60))["d"] > 1.2 * before["d"]


def test_overload_slow_start_and_memory_take_from_a_weight_of_its_own() -> None:
    def waiting(of_b: float) -> dict[str, Serving]:
        replicas = pool(*(100.0,) * 4)
        return {
            id_: replace(each, queue=of_b if id_ == "b" else 1.0) for id_, each in replicas.items()
        }

    play = played(waiting(1.0), settings=WEIGHTED)
    after = play.step(waiting(500.0))
    assert weights(after)["b"] < 100
    assert weights(after)["a"] == 1000
    play = played(pool(*(100.0,) * 4), settings=WEIGHTED)
    starting = {"z": Serving(load=0.0, ready_since=play.now)}
    assert weights(play.step({**pool(*(100.0,) * 4), **starting}))["z"] < 300
    full = {**pool(100, 100, 100), "d": Serving(memory=0.93), "e": Serving(memory=0.98)}
    decision = settled(full, settings=WEIGHTED)
    assert weights(decision)["d"] < 0.7 * weights(decision)["a"]
    assert drained(decision) == {"e"}


@pytest.mark.parametrize("policy", UNWEIGHED)
def test_without_weights_all_are_told_alike(policy: Policy) -> None:
    decision = settled(pool(100, 50, 400), settings=by(policy))
    assert decision.policy == policy
    assert {*weights(decision).values()} == {1000}
    assert {*tiers(decision).values()} == {""}
    assert decision.classes == ()
    assert policy in words(decision, "a")
    found = {decision.of(id_).share for id_ in "abc"}
    assert found == ({1 / 3} if policy == "round-robin" else {None})


@pytest.mark.parametrize("policy", UNWEIGHED)
def test_without_weights_capacity_is_measured_and_full_memory_cuts(policy: Policy) -> None:
    replicas = {**pool(100, 50, 400), "d": Serving(memory=0.93), "e": Serving(memory=0.98)}
    ours, theirs = (settled(replicas, settings=each) for each in (by(policy), TIERS))
    assert capacities(ours) == pytest.approx(capacities(theirs), rel=1e-3)
    assert drained(ours) == {"e"}
    assert "has no weight to reduce" in words(ours, "d")
    assert ours.of("e").share == 0


def test_one_queue_is_assumed_only_where_envoy_compares_replicas() -> None:
    """Of a replica that shares a queue with others, the same latency says something else."""

    def measured(policy: Policy, envoys: int | None) -> float:
        return capacities(settled(pool(100, 100, 100), settings=by(policy), envoys=envoys))["a"]

    alone, together = measured("capacity-tiers", MANY), measured("capacity-tiers", 1)
    assert alone != pytest.approx(together, rel=0.05)
    assert measured("least-request", 1) == pytest.approx(together, rel=0.01)
    for policy in ("weighted-least-request", "round-robin", "ring-hash"):
        assert measured(policy, 1) == pytest.approx(alone, rel=0.01)


def test_a_policy_with_weights_begins_with_what_was_measured_without() -> None:
    play = played(pool(100, 100, 400), settings=by("round-robin"))
    play.settings = TIERS
    first = play.step(pool(100, 100, 400))
    assert capacities(first)["c"] == pytest.approx(40_000, rel=0.05)
    # Envoy had them alike, and a share moves step by step.
    assert 1 < relatives(first)["c"] <= 1.5
    assert tiers(first)["c"] != tiers(first)["a"]
    later = play.run(pool(100, 100, 400), 8)
    assert weights(later) == pytest.approx(weights(settled(pool(100, 100, 400))), rel=0.06)


def test_a_silent_pool_takes_another_policy_as_well() -> None:
    play = played(pool(100, 100, 400))
    silent = pool(100, 100, 400, silent=True)
    play.settings = WEIGHTED
    weighted = play.run(silent, 8 * INTERVAL)
    assert (weighted.suspect, weighted.policy) == (True, "weighted-least-request")
    assert weights(weighted)["c"] > 2 * weights(weighted)["a"]
    assert {*tiers(weighted).values()} == {""}
    play.settings = by("maglev")
    alike = play.step(silent)
    assert (alike.suspect, {*weights(alike).values()}) == (True, {1000})
    play.settings = TIERS
    assert all(tiers(play.step(silent)).values())


def test_the_last_policy_is_forgotten_by_none_of_the_replicas() -> None:
    """From tiers to weights and back: the first decision with tiers has those of before."""
    play = played(pool(100, 100, 400))
    assert play.decision is not None
    before = tiers(play.decision)
    play.settings = WEIGHTED
    play.run(pool(100, 100, 400), 10)
    play.settings = TIERS
    assert tiers(play.step(pool(100, 100, 400))) == before


def test_every_policy_starts_with_an_empty_pool() -> None:
    for policy in (*UNWEIGHED, "capacity-tiers", "weighted-least-request"):
        assert len(Play(by(policy)).step({}).replicas) == 0
