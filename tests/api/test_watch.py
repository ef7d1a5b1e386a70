"""What makes an event of a replica that nobody has declared otherwise, and what does not."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from controlplane.api.events import Feed, Watch
from controlplane.config import ReplicaSettings, validated
from controlplane.fleet import Applied, Drain, PutPool, PutReplica, apply, whole
from controlplane.metrics.fleet import fleet_families
from controlplane.plane import Plane, Probe
from tests.fleet.fleets import without_pool, without_replica
from tests.plane.lives import Life, measured
from tests.plane.pools import SETTINGS


class Watched:
    """A plane that was measured, and what is told of it from now on."""

    def __init__(self) -> None:
        self.life: Life = measured()
        self.feed = Feed()
        self.watch = Watch(self.life.plane, self.feed)
        self.seen = 0

    def change(self, applied: Applied) -> None:
        """Have the fleet changed, as a registry does it."""
        self.life.plane.adopt(applied, self.life.now)
        self.watch.changed(applied.changes, self.life.now)

    def told(self) -> list[tuple[str, str, str | None]]:
        """Kind, change and id of each event since the last look."""
        seen = self.seen
        list(self.watch.looking(self.life.now))
        found = [(item.kind, json.loads(item.data)) for item in self.feed.after(seen) or ()]
        self.seen = self.feed.newest
        return [(kind, data["change"], data.get("id")) for kind, data in found]

    def decide(self, **changed: Any) -> None:
        """Have another thing decided about the slow replica."""
        decided = self.life.plane._decisions["m"]
        decision = decided.decision
        assert decision is not None
        columns = {}
        for name, value in changed.items():
            columns[name] = getattr(decision, name).copy()
            columns[name][decision.rows["slow"]] = value
        decided.decision = replace(decision, **columns)
        self.watch._dirty.add_replicas({"m": ["slow"]})


@pytest.mark.parametrize("changed", [{"tier": 1}, {"drained": True}, {"stale": True}])
def test_another_tier_full_memory_and_old_readings_are_events(changed: dict[str, Any]) -> None:
    here = Watched()
    here.decide(**changed)
    assert here.told() == [("replica", "changed", "slow")]
    assert here.told() == []


@pytest.mark.parametrize(
    ("changed", "bad", "good"),
    [
        (
            "drained",
            "m/slow gets nothing: the memory of its GPU is full",
            "m/slow gets requests again: the memory of its GPU has room",
        ),
        (
            "stale",
            "m/slow cannot be scraped: its readings are too old",
            "m/slow is scraped again",
        ),
    ],
)
def test_the_log_has_a_line_when_a_replica_is_cut_or_not_read_and_when_that_is_over(
    changed: str, bad: str, good: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    here = Watched()
    for value in (True, False):
        here.decide(**{changed: value})
        here.told()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", bad),
        ("INFO", good),
    ]


def test_the_log_has_a_line_when_a_replica_is_gone_and_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    here = Watched()
    plane = here.life.plane
    target = plane.target("m", "slow")
    assert target is not None
    for answer in (Probe.REFUSED, Probe.HEALTHY):
        here.life.now += 100.0
        plane.probed(target, answer, here.life.now)
        plane.decide(here.life.now)
        here.told()
    said = [
        message
        for message in caplog.messages
        if "m/slow" in message and "read" not in message.split("is ")[0]
    ]
    address = target.replica.settings.address
    assert f"m/slow is gone: nobody listens at {address}, or another process" in said
    assert "m/slow is ready" in said


def test_a_tier_alone_is_an_event_and_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    here = Watched()
    here.decide(tier=1)
    assert here.told() == [("replica", "changed", "slow")]
    assert caplog.messages == []


def test_another_weight_is_no_event() -> None:
    here = Watched()
    here.decide(weight=777)
    assert here.told() == []


def test_what_envoys_are_no_longer_told_of_is_an_event() -> None:
    here = Watched()
    decided = here.life.plane._decisions["m"]
    known = decided.endpoint_weights.items()
    decided.endpoint_weights = {id_: each for id_, each in known if id_ != "slow"}
    # As the next decision would do it.
    here.decide(weight=777)
    assert here.told() == [("replica", "changed", "slow")]


def test_a_drained_replica_is_told_of_once() -> None:
    here = Watched()
    here.change(apply(here.life.plane.fleet, Drain("m", "slow"), here.life.now))
    assert here.told() == [("replica", "changed", "slow")]
    here.decide(weight=777)
    assert here.told() == []


def test_of_a_pool_that_went_nothing_is_remembered() -> None:
    here = Watched()
    here.change(without_pool(here.life.plane.fleet, "m"))
    assert here.told() == [("pool", "removed", None)]
    assert (here.watch._states, here.watch._dirty.taken()) == ({}, {})


def test_a_pool_that_came_back_is_told_of_with_its_replicas() -> None:
    here = Watched()
    fleet = here.life.plane.fleet
    here.change(without_pool(here.life.plane.fleet, "m"))
    here.told()
    here.change(whole(fleet))
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
    for entry in plane.targets():
        plane.probed(entry, Probe.HEALTHY, 0.0)
    plane.decide(0.0)
    feed = Feed()
    watch = Watch(plane, feed)
    for id_ in ("r7", "r8"):
        target = plane.target("m", id_)
        assert target is not None
        plane.probed(target, Probe.REFUSED, 100.0)
        # It looks less often than there are decisions.
        plane.decide(100.0)
    list(watch.looking(100.0))
    told = [json.loads(each.data) for each in feed.after(0) or ()]
    assert [(item["change"], item["id"], item["state"]) for item in told] == [
        ("changed", "r7", "gone"),
        ("changed", "r8", "gone"),
    ]


LATER = 3_600.0
"""Seconds after which everything is due again."""

WORK: dict[str, Callable[[Watched], Iterable[object]]] = {
    "events": lambda here: here.watch.looking(here.life.now),
    "decisions": lambda here: here.life.plane.writing(here.life.now),
    "history": lambda here: here.life.plane.histories.writing(),
    "trends": lambda here: here.life.plane.sampling_trends(here.life.now + LATER),
    "scaling": lambda here: here.life.plane.sizing(here.life.now + LATER),
    "metrics": lambda here: fleet_families(here.life.plane, here.life.now),
    "traffic": lambda here: here.life.plane.tallying(
        here.life.plane.fleet.pool("m"), here.life.now
    ),
}


@pytest.mark.parametrize("work", WORK)
def test_what_is_done_in_turns_goes_on_when_replicas_and_pools_leave(work: str) -> None:
    here = Watched()
    plane = here.life.plane
    for number in range(3):
        settings = validated(ReplicaSettings, {"address": f"127.0.0.1:{number + 1}"})
        plane.apply(PutReplica("m", f"new-{number}", settings), here.life.now)
    plane.deciding(here.life.now)()
    for slot in (here.watch._dirty, plane._dirty):
        slot.add(("m",))
    pieces = iter(WORK[work](here))
    next(pieces)
    for id_ in ("fast", "new-0", "new-1"):
        here.change(without_replica(plane.fleet, "m", id_))
    # What was left to do may have been about these alone.
    next(pieces, None)
    here.change(without_pool(plane.fleet, "m"))
    list(pieces)
    plane.decide(here.life.now)
