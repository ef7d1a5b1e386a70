"""What is kept of a replica's last hour, for how long, and in how many bytes."""

import random
import tracemalloc
from math import ceil

from controlplane.config import PoolSettings, ReplicaSettings, validated
from controlplane.fleet import DeletePool, DeleteReplica, Drain, PutPool, PutReplica
from controlplane.plane import RETENTION, Failure, Plane, Probe, changes
from controlplane.plane.history import MOST_BYTES, REGULAR, _History, _Packed, packed, unpacked
from controlplane.telemetry import Histogram, Reading
from tests.plane.histories import Watched
from tests.plane.pools import SETTINGS


def test_an_entry_is_the_explanation_of_its_time() -> None:
    watched = Watched().go(10)
    watched.latency["a"] = 0.4
    watched.go(10)
    last = watched.told()[-1].entry
    watched.plane.decide(watched.now)
    report = watched.plane.report("m", "a", last.at)
    assert last.window is not None
    assert last.window.memory[0].uuid == "GPU-a"
    assert report.decision is not None
    assert last.tier == report.decision.tier
    assert [step.name for step in last.steps] == [step.name for step in report.decision.steps]
    assert last.steps[0].words.startswith("Capacity ")


def test_what_is_unpacked_is_what_was_packed_to_five_digits() -> None:
    watched = Watched().go(10)
    watched.latency["a"] = 0.4
    entry = watched.go(10).told()[-1].entry
    assert entry.window is not None
    assert entry.window.p99 is not None
    assert entry.steps
    assert unpacked(packed(entry), entry.at) == entry


def test_a_replica_that_stays_as_it_is_has_an_entry_every_five_minutes() -> None:
    watched = Watched().go(60, step=2.0)
    begun = len(watched.told())
    watched.go(4 * REGULAR, step=20.0)
    later = watched.told()[begun:]
    assert len(later) == 4
    assert all(item.entry.at - item.before.at >= REGULAR for item in later[1:] if item.before)


def test_a_share_that_changes_by_more_than_the_dead_band_is_kept_at_once() -> None:
    watched = Watched().go(60)
    before = len(watched.told())
    watched.latency["a"] = 0.05
    watched.go(30)
    entries = [item.entry for item in watched.told()]
    assert len(entries) > before
    assert (entries[-1].share or 0) < 0.7 * (entries[before - 1].share or 0)
    now = watched.plane.report("m", "a", watched.now).decision
    assert now is not None
    assert abs((entries[-1].share or 0) / (now.share or 1) - 1) <= 0.0501


def test_another_policy_is_kept_with_a_share_that_only_envoys_know() -> None:
    watched = Watched().go(10)
    body = SETTINGS.model_dump() | {"balancing": {"policy": "least-request"}}
    watched.plane.apply(PutPool("m", validated(PoolSettings, body)), watched.now)
    watched.go(1)
    told = watched.told()[-1]
    assert unpacked(packed(told.entry), told.entry.at).share is None
    assert (told.entry.tier, told.before and told.before.share is None) == ("", False)
    sentences = [*changes(told.before, told.entry)]
    assert sentences[0] == "its share is only known to Envoys"
    assert any(
        "Policy least-request: each request goes where" in sentence for sentence in sentences
    )
    watched.plane.apply(PutPool("m", SETTINGS), watched.now)
    watched.go(1)
    back = watched.told()[-1]
    assert next(changes(back.before, back.entry)).startswith("its share is known again: ")


def test_a_step_that_appears_and_one_that_vanishes_are_kept() -> None:
    watched = Watched().go(60)
    watched.queue["a"] = 500.0
    watched.go(0.5)
    assert "overload" in [step.name for step in watched.told()[-1].entry.steps]
    watched.queue["a"] = 0.0
    watched.go(0.5)
    assert "overload" not in [step.name for step in watched.told()[-1].entry.steps]


def test_a_cut_a_drain_silence_and_a_restart_are_kept() -> None:
    watched = Watched().go(60)
    watched.memory["a"] = 0.99
    assert watched.go(0.5).told()[-1].entry.drained
    watched.silent.add("b")
    watched.plane.record(watched.target("b"), Failure("no answer"), watched.now)
    assert watched.go(0.5).told("b")[-1].entry.failure == "no answer"
    assert watched.go(10).told("b")[-1].entry.stale
    watched.plane.apply(Drain("m", "b"), watched.now)
    assert watched.go(0.5).told("b")[-1].entry.draining == "operator"
    before = watched.told()[-1].entry.lifetime
    watched.restart("a")
    assert watched.go(0.5).told()[-1].entry.lifetime != before


def test_nothing_older_than_an_hour_is_told_nor_kept() -> None:
    watched = Watched().go(60)
    first = watched.told()[0].entry.at
    watched.go(RETENTION, step=20.0)
    told = watched.told()
    assert told[0].entry.at >= watched.now - RETENTION > first
    assert told[0].before is None
    assert watched.plane.histories.of("m", "a", watched.now + 2 * RETENTION, 9 * RETENTION) == ()


def test_since_leaves_out_what_is_older_but_still_compares_with_it() -> None:
    watched = Watched().go(60)
    watched.queue["a"] = 500.0
    watched.go(0.5)
    (last,) = watched.told(since=0.1)
    assert last.before is not None
    assert last.before.at < 60 < last.entry.at


def test_who_is_removed_is_forgotten_with_its_history() -> None:
    watched = Watched().go(10)
    watched.plane.apply(DeleteReplica("m", "a"), watched.now)
    assert watched.told() == ()
    assert watched.told("b")
    watched.plane.apply(DeletePool("m"), watched.now)
    assert watched.told("b") == ()


def test_who_is_put_at_another_address_begins_anew() -> None:
    watched = Watched().go(10)
    watched.put("a", 99)
    assert watched.told() == ()
    assert watched.go(0.5).told()[0].before is None
    assert watched.told("b")[0].entry.at < 1.0


def test_who_comes_back_under_its_id_between_two_decisions_begins_anew() -> None:
    watched = Watched().go(10)
    watched.plane.apply(DeleteReplica("m", "a"), watched.now)
    watched.put("a", 81)
    (only,) = watched.go(0.5).told()
    assert (only.before, only.entry.at) == (None, watched.now)


def test_of_a_restless_replica_the_whole_hour_is_kept_and_the_rest_is_counted() -> None:
    watched = Watched().go(60)
    for turn in range(450):
        watched.queue["a"] = 500.0 if turn % 2 else 0.0
        watched.go(8, step=8.0)
    told = watched.told()
    assert told[0].entry.at < watched.now - 0.9 * RETENTION
    assert sum(item.left_out for item in told) > 100
    gaps = [each.entry.at - each.before.at for each in told if each.before]
    assert max(gaps) < 2 * REGULAR
    # The newest are told in more detail than the oldest.
    assert sum(gaps[-10:]) < 0.5 * sum(gaps[:10])


def test_where_there_is_no_room_great_changes_stay_and_every_other_one_is_counted() -> None:
    timeline = _History()
    for second in range(2000):
        timeline.add(_Packed(float(second), 3.0 if second == 500 else 0.1, bytes(300)))
    assert timeline.size == sum(entry.size for entry in timeline.entries) <= MOST_BYTES
    assert 500.0 in [entry.at for entry in timeline.entries]
    assert len(timeline.entries) + sum(entry.left_out for entry in timeline.entries) == 2000


def test_of_many_small_changes_a_great_one_among_them_stays() -> None:
    watched = Watched().go(60)
    for turn in range(450):
        watched.silent = {"a"} if turn % 2 else set()
        watched.memory["a"] = 0.99 if turn == 100 else 0.5
        watched.go(8, step=8.0)
    told = watched.told()
    assert sum(item.left_out for item in told) > 100
    assert next(each.entry.at for each in told if each.entry.drained) == 868.0


def test_regular_entries_of_a_large_pool_are_spread_over_decisions() -> None:
    plane = large(200)
    plane.decide(1.0)
    seen = []
    for step in range(40):
        now = 1.0 + REGULAR + step
        for target in plane.targets():
            plane.record(target, Reading(now, Histogram((1.0,), (0.0,), 0.0)), now)
        plane.decide(now)
        told = (plane.histories.of("m", f"r{n}", now) for n in range(1, 200))
        seen.append(sum(item[-1].entry.at == now for item in told))
    assert max(seen) == ceil(0.02 * 200)
    assert sum(seen) >= 100


def large(count: int) -> Plane:
    plane = Plane(0.0)
    plane.apply(PutPool("m", SETTINGS), 0.0)
    for n in range(count):
        settings = ReplicaSettings.model_validate({"address": f"10.0.0.{n % 250 + 1}:{80 + n}"})
        plane.apply(PutReplica("m", f"r{n}", settings), 0.0)
    for target in plane.targets():
        plane.probed(target, Probe.HEALTHY, 0.0)
    return plane


def test_an_hour_of_the_most_restless_replica_takes_less_than_30_kb() -> None:
    rng, watched = random.Random(1), Watched().go(60)  # noqa: S311 - no secrets
    histories = watched.plane.histories
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        for _ in range(120):
            for id_ in ("a", "b"):
                watched.queue[id_] = rng.choice((0.0, 50.0 + 900 * rng.random()))
                watched.latency[id_] = rng.choice((0.01, 0.04, 0.3))
                watched.memory[id_] = rng.choice((0.5, 0.93))
            watched.go(10, step=10.0)
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    assert sum(each.left_out for each in watched.told()) > 0
    kept = [tracemalloc.Filter(inclusive=True, filename_pattern="*/plane/history.py")]
    grown = after.filter_traces(kept).compare_to(before.filter_traces(kept), "filename")
    assert MOST_BYTES / 2 < sum(item.size_diff for item in grown) / 2 < 30_000
    assert histories.of("m", "a", watched.now)
