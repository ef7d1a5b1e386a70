"""What a pool's balancing policy makes of its weighing: tiers, weights of their own, or none."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings import Policy, PoolSettings, validated
from controlplane.weighing import InFlight, ReplicaInput, Weighing, explain, weigh
from controlplane.weighing.sizes import Sizes
from tests.weighing.pools import INTERVAL, later, pool, replica, rounds, weights
from tests.weighing.test_weigh import histories

UNWEIGHED: tuple[Policy, ...] = (
    "least-request",
    "round-robin",
    "client-side-weighted-round-robin",
    "ring-hash",
    "maglev",
)


def by(policy: Policy) -> PoolSettings:
    hashed: dict[str, Any] = {"hash": {"header": "x-user"}} if policy in UNWEIGHED[3:] else {}
    balancing = {"policy": policy, **hashed}
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, "balancing": balancing}
    return validated(PoolSettings, body)


TIERS, WEIGHTED = by("capacity-tiers"), by("weighted-least-request")


def settled(inputs: list[ReplicaInput], settings: PoolSettings = WEIGHTED) -> Weighing:
    return rounds(inputs, 80, settings=settings)[-1]


def weighed_in_turn(
    history: list[tuple[float, list[ReplicaInput]]], settings: list[PoolSettings]
) -> Weighing:
    weighing, now = None, 0.0
    for number, (passed, inputs) in enumerate(history):
        now += passed
        weighing = weigh(weighing, settings[number % len(settings)], inputs, now)
    assert weighing is not None
    return weighing


def test_each_replica_has_a_weight_of_its_own_where_a_tier_would_have_one_for_all() -> None:
    inputs = pool(100, 100, 100, 140, 70)
    tiers, weighing = settled(inputs, TIERS), settled(inputs)
    assert len({*weights(tiers).values()}) == 1
    shown = weights(weighing)
    assert shown["e"] < 0.85 * shown["a"] < 0.85 * 0.85 * shown["d"]
    assert {it.tier for it in weighing.replicas.values()} == {""}
    assert sum(it.share or 0 for it in weighing.replicas.values()) == pytest.approx(1)
    last = explain(weighing.replicas["d"].steps)[-1]
    assert last == f"policy weighted-least-request: Envoy is told a weight of its own, {shown['d']}"


@given(histories)
def test_whatever_was_reported_every_weight_of_its_own_is_positive_and_bounded(
    history: list[tuple[float, list[ReplicaInput]]],
) -> None:
    for weighed in weighed_in_turn(history, [WEIGHTED]).replicas.values():
        assert 50 <= weighed.weight <= 10_000


@given(histories, st.permutations("abcdefgh"), st.permutations([WEIGHTED, TIERS, by("maglev")]))
def test_the_order_of_replicas_does_not_matter_under_any_policy(
    history: list[tuple[float, list[ReplicaInput]]],
    order: list[str],
    settings: list[PoolSettings],
) -> None:
    shuffled = [
        (passed, sorted(inputs, key=lambda each: order.index(each.id)))
        for passed, inputs in history
    ]
    assert weighed_in_turn(history, settings) == weighed_in_turn(shuffled, settings)


def test_a_weight_of_its_own_is_told_anew_only_when_it_has_changed_by_more_than_noise() -> None:
    before = settled(pool(100, 100, 100, 300))
    nearly = rounds(pool(100, 100, 100, 309), 120, before, settings=WEIGHTED)
    assert [weights(it) for it in nearly] == [weights(before)] * 120
    faster = rounds(pool(100, 100, 100, 450), 120, before, settings=WEIGHTED)[-1]
    assert weights(faster)["d"] > 1.2 * weights(before)["d"]


def test_the_veto_takes_from_a_weight_of_its_own() -> None:
    before = settled(pool(100, 100, 100, 100))
    now = before.at + INTERVAL
    inputs = [
        replace(later(each, before, now), in_flight=(InFlight("queue", count, now),))
        for each, count in zip(pool(100, 100, 100, 100), (1, 500, 1, 1), strict=True)
    ]
    after = weights(weigh(before, WEIGHTED, inputs, now))
    assert after["b"] < 100
    assert after["a"] == 1000


def test_a_slow_start_is_a_weight_of_its_own() -> None:
    before = settled(pool(100, 100, 100, 100))
    now = before.at + INTERVAL
    inputs = [later(each, before, now) for each in pool(100, 100, 100, 100)]
    weighing = weigh(before, WEIGHTED, [*inputs, ReplicaInput("z", ready_since=now)], now)
    assert weights(weighing)["z"] == 167
    assert weighing.replicas["z"].tier == ""


def test_full_memory_takes_from_a_weight_of_its_own_and_then_drains() -> None:
    inputs = [*pool(100, 100, 100), replica("d", 100, memory=0.93), replica("e", memory=0.98)]
    weighing = settled(inputs)
    assert weights(weighing)["d"] < 0.7 * weights(weighing)["a"]
    assert [id_ for id_, it in weighing.replicas.items() if it.drained] == ["e"]


@given(histories, st.sampled_from(UNWEIGHED))
def test_without_weights_all_are_told_alike_whatever_was_reported(
    history: list[tuple[float, list[ReplicaInput]]], policy: Policy
) -> None:
    weighing = weighed_in_turn(history, [by(policy)])
    assert weighing.policy == policy
    assert {it.weight for it in weighing.replicas.values()} <= {1000}
    assert {it.tier for it in weighing.replicas.values()} <= {""}
    ready = {each.id for each in history[-1][1] if each.ready}
    for id_, weighed in weighing.replicas.items():
        serves = id_ in ready and not weighed.drained
        assert (weighed.share == 0) == (not serves)
        assert all(explain(weighed.steps))
    assert any(not it.drained for it in weighing.replicas.values()) or not ready


def test_in_turn_all_have_the_same_share_and_otherwise_nobody_knows() -> None:
    for policy in UNWEIGHED:
        shares = {it.share for it in settled(pool(100, 50, 400), by(policy)).replicas.values()}
        assert shares == ({1 / 3} if policy == "round-robin" else {None})


@pytest.mark.parametrize("policy", UNWEIGHED)
def test_capacity_is_measured_without_weights_too(policy: Policy) -> None:
    ours, theirs = (settled(pool(100, 50, 400), by(it)) for it in (policy, "capacity-tiers"))
    for id_, weighed in theirs.replicas.items():
        assert ours.replicas[id_].capacity == pytest.approx(weighed.capacity)


def test_replicas_wait_in_one_line_only_where_envoy_compares_them() -> None:
    """Of a replica that waits in line with others, the same latency says something else."""

    def measured(policy: Policy, envoys: int | None) -> float:
        weighing, inputs = None, pool(100, 100, 100)
        for turn in range(40):
            now = turn * INTERVAL
            inputs = [later(each, weighing, now) for each in inputs]
            weighing = weigh(weighing, by(policy), inputs, now, envoys=envoys)
        assert weighing is not None
        return weighing.replicas["a"].capacity or 0.0

    alone, together = measured("capacity-tiers", None), measured("capacity-tiers", 1)
    assert alone != pytest.approx(together, rel=0.05)
    assert measured("least-request", 1) == pytest.approx(together)
    for policy in ("weighted-least-request", "round-robin", "ring-hash"):
        assert measured(policy, 1) == pytest.approx(alone)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("least-request", "each request goes where an Envoy has the fewest in flight"),
        ("round-robin", "all get the same number of requests, in turn"),
        (
            "client-side-weighted-round-robin",
            "each Envoy weighs it by the utilisation that its own responses report (ORCA)",
        ),
        ("ring-hash", "what has the same header x-user goes to the same replica"),
        ("maglev", "what has the same header x-user goes to the same replica"),
    ],
)
def test_a_replica_without_a_weight_is_told_so(policy: Policy, words: str) -> None:
    last = explain(settled(pool(100, 400), by(policy)).replicas["b"].steps)[-1]
    assert last == f"policy {policy}: {words}; Envoy is not told what it can carry"


@pytest.mark.parametrize("policy", UNWEIGHED)
def test_memory_at_hard_drains_without_weights_and_between_soft_and_hard_is_only_said(
    policy: Policy,
) -> None:
    inputs = [*pool(100, 100, 100), replica("d", memory=0.93), replica("e", memory=0.98)]
    weighing = settled(inputs, by(policy))
    assert [id_ for id_, it in weighing.replicas.items() if it.drained] == ["e"]
    assert (
        f"GPU memory 93 % is over soft 90 %: policy {policy} has no weight to take from it"
        in explain(weighing.replicas["d"].steps)
    )
    assert any(it.startswith("cut: GPU memory") for it in explain(weighing.replicas["e"].steps))


def test_a_policy_with_weights_begins_with_what_was_measured_without() -> None:
    before = settled(pool(100, 100, 400), by("round-robin"))
    first = rounds(pool(100, 100, 400), 1, before, settings=TIERS)[-1]
    assert first.replicas["c"].capacity == pytest.approx(400, rel=0.05)
    # Envoy had them alike, and a share moves a step at a time.
    assert 1000 < weights(first)["c"] <= 1500
    assert first.replicas["c"].tier != first.replicas["a"].tier
    fourth = rounds(pool(100, 100, 400), 6, before, settings=TIERS)[-1]
    assert weights(fourth) == pytest.approx(weights(settled(pool(100, 100, 400), TIERS)), rel=0.06)


def silent(inputs: list[ReplicaInput]) -> list[ReplicaInput]:
    return [replace(each, age=5 * INTERVAL) for each in inputs]


def test_a_silent_pool_takes_another_policy_as_well() -> None:
    before = settled(pool(100, 100, 400), TIERS)
    inputs, now = silent(pool(100, 100, 400)), before.at + 5 * INTERVAL
    weighted = weigh(before, WEIGHTED, inputs, now)
    assert (weighted.suspect, weighted.policy) == (True, "weighted-least-request")
    assert weights(weighted)["c"] > 2 * weights(weighted)["a"]
    assert {it.tier for it in weighted.replicas.values()} == {""}
    alike = weigh(weighted, by("maglev"), inputs, now + INTERVAL)
    assert (alike.suspect, {*weights(alike).values()}) == (True, {1000})
    back = weigh(alike, TIERS, inputs, now + 2 * INTERVAL)
    assert all(it.tier.startswith("tier-") for it in back.replicas.values())


def test_the_usual_length_of_a_request_stays_what_it_was_without_weights_too() -> None:
    def counting(tokens: float) -> list[ReplicaInput]:
        inputs = pool(100, 100)
        windows = [replace(it.window, count=1000.0, tokens=tokens) for it in inputs if it.window]
        return [replace(it, window=seen) for it, seen in zip(inputs, windows, strict=True)]

    first = weigh(None, by("round-robin"), counting(100_000.0), 0.0)
    assert first.tokens == 100
    assert weigh(first, by("round-robin"), counting(300_000.0), INTERVAL).tokens == 100


def test_a_silent_pool_goes_on_sharing_out_short_requests_as_before() -> None:
    before = settled(pool(100, 100, 400), TIERS)
    sizes = Sizes(800, frozenset("c"), part=0.3, assumed=0.3, begun=0.0, since=0.0)
    relative = {id_: it.state.relative for id_, it in before.replicas.items()}
    part = sizes.of_short(relative, before.at)
    assert part < 0.6
    fast = before.replicas["c"]._replace(weight=round(before.replicas["c"].weight * part))
    before = replace(before, replicas={**before.replicas, "c": fast}, sizes=sizes)
    inputs, now = silent(pool(100, 100, 400)), before.at + 5 * INTERVAL
    frozen = weigh(before, TIERS, inputs, now)
    assert frozen.suspect
    assert (weights(frozen), frozen.sizes) == (weights(before), sizes)
    # Where the policy has changed, there is nothing to part.
    assert weigh(before, WEIGHTED, inputs, now).sizes is None
