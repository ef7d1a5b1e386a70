"""What makes an event of a replica that nobody has declared otherwise, and what does not."""

import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.api.events import Feed
from controlplane.api.watch import Watch
from controlplane.fleet import Drain, PutPool, PutReplica
from controlplane.plane import Plane, Probe
from controlplane.settings import ReplicaSettings, validated
from tests.plane.lives import Life, measured
from tests.plane.pools import SETTINGS


class Watched:
    """A plane that was measured, and what is told of it from now on."""

    def __init__(self) -> None:
        self.life: Life = measured()
        self.feed = Feed()
        self.watch = Watch(self.life.plane, self.feed)

    def told(self) -> list[tuple[str, str, str | None]]:
        """Kind, change and id of each event since the last look."""
        seen = self.feed.newest
        self.watch.look(self.life.now)
        found = [(it.kind, json.loads(it.data)) for it in self.feed.after(seen) or ()]
        return [(kind, data["change"], data.get("id")) for kind, data in found]

    def decide(self, **changed: Any) -> None:
        """Have another thing decided about the slow replica."""
        decided = self.life.plane._decided
        decision = decided.decisions["m"]
        columns = {}
        for name, value in changed.items():
            columns[name] = getattr(decision, name).copy()
            columns[name][decision.rows["slow"]] = value
        decided.decisions["m"] = replace(decision, **columns)
        decided.touched.add("m", ["slow"])


@pytest.mark.parametrize("changed", [{"tier": 1}, {"drained": True}, {"stale": True}])
def test_another_tier_full_memory_and_old_readings_are_events(changed: dict[str, Any]) -> None:
    here = Watched()
    here.decide(**changed)
    assert here.told() == [("replica", "changed", "slow")]
    assert here.told() == []


def test_another_weight_is_no_event() -> None:
    here = Watched()
    here.decide(weight=777)
    assert here.told() == []


def test_what_envoys_are_no_longer_told_of_is_an_event() -> None:
    here = Watched()
    del here.life.plane._decided.portions["m"]["slow"]
    # As the next decision would do it.
    here.decide(weight=777)
    assert here.told() == [("replica", "changed", "slow")]


def test_a_drained_replica_is_told_of_once() -> None:
    here = Watched()
    here.life.plane.apply(Drain("m", "slow"), here.life.now)
    assert here.told() == [("replica", "changed", "slow")]
    here.decide(weight=777)
    assert here.told() == []


def test_of_a_pool_that_went_nothing_is_remembered() -> None:
    here = Watched()
    here.life.plane.adopt(here.life.plane.fleet.without_pool("m"), here.life.now)
    assert here.told() == [("pool", "removed", None)]
    assert (here.watch._states, here.watch._looked) == ({}, {})


def test_a_pool_that_came_back_is_told_of_with_its_replicas() -> None:
    here = Watched()
    fleet = here.life.plane.fleet
    here.life.plane.adopt(here.life.plane.fleet.without_pool("m"), here.life.now)
    here.told()
    here.life.plane.adopt(fleet, here.life.now)
    assert here.told() == [
        ("pool", "added", None),
        *(("replica", "added", id_) for id_ in ("fast", "same", "slow")),
    ]


def test_one_of_many_that_are_alike_is_told_of_and_no_other() -> None:
    plane = Plane(0.0)
    plane.apply(PutPool("m", SETTINGS), 0.0)
    for n in range(60):
        address = validated(ReplicaSettings, {"address": f"127.0.0.1:{9000 + n}"})
        plane.apply(PutReplica("m", f"r{n}", address), 0.0)
    for it in plane.targets():
        plane.probed(it, Probe.HEALTHY, 0.0)
    plane.decide(0.0)
    feed = Feed()
    watch = Watch(plane, feed)
    for id_ in ("r7", "r8"):
        target = plane.target("m", id_)
        assert target is not None
        plane.probed(target, Probe.REFUSED, 100.0)
        # It looks less often than there are decisions.
        plane.decide(100.0)
    watch.look(100.0)
    told = [json.loads(it.data) for it in feed.after(0) or ()]
    assert [(it["change"], it["id"], it["state"]) for it in told] == [
        ("changed", "r7", "gone"),
        ("changed", "r8", "gone"),
    ]
