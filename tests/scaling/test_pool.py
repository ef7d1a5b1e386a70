"""A pool's recommendation: bounds, safety of scaling down, scaling from and to nothing, reasons."""

from collections.abc import Mapping
from typing import Any

import pytest

from controlplane.config import PoolSettings, SettingsError, validated
from controlplane.scaling import PoolScaling, Recommendation, ReplicaState
from tests.balancing.pools import Play, Serving, pool


def settings_of(objective: str | None = None, **scaling: Any) -> PoolSettings:
    body: dict[str, Any] = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "scaling": scaling,
    }
    if objective is not None:
        body["objective"] = {"p99": objective}
    return validated(PoolSettings, body)


READY = ReplicaState(1, is_ready=True, since=0.0, ready_since=None)


class Scaled:
    """A pool that is followed through time, looked at after every decision."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings_of(**settings)
        self.play = Play(self.settings)
        self.scaling = PoolScaling(0.0)
        self.states: dict[str, ReplicaState] = {}

    def run(
        self, replicas: Mapping[str, Serving], seconds: float, **others: ReplicaState
    ) -> Recommendation:
        for _ in range(round(seconds / 2)):
            decision = self.play.step(replicas, seconds=2.0)
            self.states = dict.fromkeys(replicas, READY) | others
            self.scaling.look(self.settings, decision, self.states, self.play.now)
        return self.now()

    def now(self, **given: Any) -> Recommendation:
        return self.scaling.recommend("p", self.settings, self.states, 4, self.play.now, **given)


def test_a_pool_that_is_too_busy_is_to_have_more_and_says_why() -> None:
    found = Scaled(objective="60s").run(pool(100, 100, load=0.95), 60)
    assert (found.replicas, found.current) == (3, 2)
    assert found.reasons[0] == "3 replicas wanted, 2 there, 1 more"
    assert any("need 3 replicas" in reason for reason in found.reasons), found.reasons
    assert not any("the fastest first" in reason for reason in found.reasons), found.reasons
    assert any("assumed until a start is seen" in reason for reason in found.reasons)


def test_fewer_are_wanted_only_once_fewer_were_enough_for_the_whole_window() -> None:
    scaled = Scaled(scale_down_after="120s")
    busy, calm = pool(100, 100, 100, 100, load=0.6), pool(100, 100, 100, 100, load=0.15)
    assert scaled.run(busy, 200).replicas == 4
    assert scaled.run(calm, 100).replicas == 4
    found = scaled.run(calm, 60)
    assert found.replicas == 1
    assert found.removable == ("a", "b", "c")


def test_just_after_a_start_nothing_is_scaled_down() -> None:
    found = Scaled().run(pool(100, 100, 100, 100, load=0.1), 60)
    assert (found.replicas, found.removable) == (4, ())
    assert any("the load is known for" in reason for reason in found.reasons)


def test_the_slowest_go_first_and_only_as_many_as_the_rest_can_do_without() -> None:
    scaled = Scaled(scale_down_after="60s")
    found = scaled.run(pool(50, 400, 50, 100, load=0.55), 200)
    assert any("need 2 replicas, the fastest first" in reason for reason in found.reasons)
    # 330 requests a second are too much for the fast one alone.
    assert found.removable == ("a", "c")
    assert found.replicas == 2


def test_while_weights_are_frozen_nothing_is_scaled_down() -> None:
    scaled = Scaled(scale_down_after="60s")
    scaled.run(pool(100, 100, 100, load=0.1), 200)
    assert scaled.now().replicas < 3
    found = scaled.now(held="most replicas cannot be scraped")
    assert (found.replicas, found.removable) == (3, ())
    assert "No fewer for now: most replicas cannot be scraped" in found.reasons


def test_a_replica_that_starts_counts_until_it_is_overdue() -> None:
    scaled = Scaled()
    late = ReplicaState(1, is_ready=False, since=0.0, ready_since=None)
    busy = pool(100, 100, load=0.95)
    found = scaled.run(busy, 60, late=late)
    assert (found.replicas, found.current) == (3, 3)
    found = scaled.run(busy, 200, late=late)
    assert (found.replicas, found.current) == (3, 2), "the autoscaler must not add ever more"


def test_a_drained_replica_is_counted_on_top_and_one_that_leaves_is_not() -> None:
    scaled = Scaled(objective="60s")
    out = READY._replace(is_out=True)
    leaving = READY._replace(is_leaving=True)
    found = scaled.run(pool(100, 100, load=0.95), 60, out=out, leaving=leaving)
    assert (found.replicas, found.current) == (4, 3)
    assert any("1 replica drained or cut" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("bounds", "expected"), [({"max_replicas": 2}, 2), ({"min_replicas": 7}, 7)]
)
def test_bounds_hold_and_are_named(bounds: dict[str, int], expected: int) -> None:
    found = Scaled(**bounds).run(pool(100, 100, load=0.95), 60)
    assert found.replicas == expected
    assert any(next(iter(bounds)) in reason for reason in found.reasons)


def test_before_anything_is_measured_a_pool_keeps_what_it_has() -> None:
    found = Scaled().run(pool(100, 100, load=0.0), 20)
    assert found.replicas == 2
    assert found.typical is None
    assert any("Nothing is known yet" in reason for reason in found.reasons)


def test_an_empty_pool_wants_a_replica_once_a_request_came_and_none_when_none_did() -> None:
    scaled = Scaled(min_replicas=0, scale_down_after="60s")
    assert scaled.run({}, 100).replicas == 0
    assert not scaled.now().active
    scaled.scaling.requested(scaled.play.now)
    found = scaled.now()
    assert found.active
    assert found.replicas == 1
    assert "At least 1: requests come" in found.reasons
    assert scaled.run({}, 70).replicas == 0


def test_a_pool_without_requests_goes_to_its_minimum() -> None:
    scaled = Scaled(min_replicas=0, scale_down_after="60s")
    scaled.run(pool(100, 100, load=0.5), 100)
    found = scaled.run(pool(100, 100, load=0.0), 200)
    assert (found.replicas, found.active) == (0, False)
    assert set(found.removable) == {"a", "b"}


def test_an_empty_pool_remembers_what_a_typical_replica_carries() -> None:
    scaled = Scaled(min_replicas=0)
    scaled.run(pool(100, 100, load=0.5), 100)
    assert scaled.run({}, 10).typical == pytest.approx(10_000, rel=0.1)


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, "3 is above max_replicas, 2"),
        ({"max_replicas": 0}, "max_replicas"),
        ({"max_utilization": 1.0}, "max_utilization"),
        ({"scale_down_after": "5"}, "not a duration"),
        ({"target": 0.7}, "target"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(scaling: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        settings_of(**scaling)
