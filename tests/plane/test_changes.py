"""What a timeline says happened between two explanations, and which step it blames."""

from dataclasses import replace

import pytest

from controlplane.balancing.sentences import Step
from controlplane.config import ReplicaSettings
from controlplane.fleet import Drain, PutReplica, Undrain
from controlplane.plane import Failure, Probe, State, changes
from controlplane.plane.history import HistoryEntry
from tests.plane.histories import Watched

STEPS = (
    Step("estimate", None, 100.0, "estimated 100 requests/s"),
    Step("median", 1.0, 1.0, "1.00 × the pool's median"),
    Step("tier", 1.0, 1.0, "in tier-8"),
)
ENTRY = HistoryEntry(
    at=0.0,
    lifetime=1,
    state=State.READY,
    draining=None,
    failure=None,
    age=0.1,
    window=None,
    by_envoys=False,
    in_flight=None,
    capacity=100.0,
    weight=1000,
    tier="tier-8",
    classes=(),
    share=0.5,
    serving=2,
    drained=False,
    stale=False,
    steps=STEPS,
)


def said(before: HistoryEntry, after: HistoryEntry) -> list[str]:
    return list(changes(before, after))


def stepped(*steps: Step, weight: int, share: float) -> HistoryEntry:
    return replace(ENTRY, steps=steps, weight=weight, share=share)


def test_where_nothing_has_changed_nothing_is_said() -> None:
    later = replace(ENTRY, at=9.0, share=0.52, age=0.2)
    assert said(ENTRY, later) == []


def test_the_first_says_where_the_record_begins() -> None:
    assert list(changes(None, ENTRY)) == ["the record begins: 50 % of the traffic"]


def test_a_share_that_fell_with_the_estimate_is_put_down_to_the_estimate() -> None:
    slower = stepped(
        Step("estimate", None, 25.0, "estimated 25 requests/s"),
        Step("median", 0.25, 0.25, "0.25 × the pool's median"),
        Step("tier", 0.25, 0.25, "in tier-8"),
        weight=250,
        share=0.2,
    )
    assert said(ENTRY, slower)[0] == (
        "its share fell: 50 % → 20 %, because: estimated 25 requests/s (estimate: ×0.25 of before)"
    )


def test_a_share_that_fell_as_the_rest_of_the_pool_became_faster_is_put_down_to_the_median() -> (
    None
):
    passed = stepped(
        STEPS[0],
        Step("median", 0.5, 0.5, "0.50 × the pool's median"),
        Step("tier", 0.5, 0.5, "in tier-8"),
        weight=500,
        share=0.33,
    )
    assert said(ENTRY, passed)[0].endswith(
        "because: 0.50 × the pool's median (median: ×0.50 of before)"
    )


def test_of_several_steps_the_one_with_the_greatest_part_in_the_fall_is_named() -> None:
    both = stepped(
        STEPS[0],
        Step("errors", 100.0, 90.0, "5 % of the requests failed"),
        Step("median", 0.9, 0.9, "0.90 × the pool's median"),
        Step("veto", 0.9, 0.1, "212 requests in flight"),
        Step("tier", 0.1, 0.1, "in tier-8"),
        weight=100,
        share=0.09,
    )
    first, *more = said(ENTRY, both)
    assert first == (
        "its share fell: 50 % → 9 %, because: 212 requests in flight (veto: ×0.11 of before)"
    )
    assert more == [
        'step "errors" began: 5 % of the requests failed',
        'step "veto" began: 212 requests in flight',
    ]
    back = said(both, ENTRY)
    assert back == [
        "its share rose: 9 % → 50 %, because veto ended",
        'step "errors" ended',
        'step "veto" ended',
    ]


def test_a_share_that_fell_because_another_replica_joined_says_so() -> None:
    joined = replace(ENTRY, share=0.33, serving=3)
    assert said(ENTRY, joined) == [
        "its share fell: 50 % → 33 %, because 3 replicas of the pool serve, where it was 2"
    ]
    alone = said(ENTRY, replace(ENTRY, share=1.0, serving=1))
    assert alone[0].endswith("because 1 replica of the pool serves, where it was 2")
    others = said(ENTRY, replace(ENTRY, share=0.25))
    assert others[0].endswith("because the weights of others changed")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"state": State.UNHEALTHY}, "its health check fails"),
        ({"state": State.GONE}, "it went away: nobody listened, or another process took over"),
        ({"draining": "operator"}, "an operator drained it"),
        ({"draining": "lease"}, "its lease ran out, so it is drained"),
        ({"draining": "discovery"}, "its source no longer has it, so it is drained"),
        ({"tier": "tier-9"}, "it moved from tier-8 to tier-9"),
        ({"tier": "starting-50-8"}, "it is in slow start"),
        ({"drained": True}, "it was cut"),
        ({"failure": "no answer"}, "scraping it began to fail: no answer"),
        (
            {"lifetime": 2},
            "a new process answers at its address: what was learned of the old one is forgotten",
        ),
        ({"share": 0.0}, "it lost its share: 50 % → 0 %"),
    ],
)
def test_what_happened_to_a_replica_is_one_sentence(
    change: dict[str, object], sentence: str
) -> None:
    assert said(ENTRY, replace(ENTRY, **change)) == [sentence]  # type: ignore[arg-type]


def test_what_is_over_is_said_as_well() -> None:
    low = replace(ENTRY, draining="operator", drained=True, failure="no", share=0.0)
    assert said(low, ENTRY) == [
        "it got its share: 0 % → 50 %",
        "it is no longer drained",
        "its cut ended",
        "it can be scraped again",
    ]


def test_a_step_that_hardly_does_anything_is_no_news() -> None:
    hovering = Step("objective", 100.0, 98.0, "p99 251 ms is over the objective of 250 ms")
    assert said(ENTRY, replace(ENTRY, steps=(STEPS[0], hovering, *STEPS[1:]))) == []


def test_the_life_of_a_replica_reads_as_it_went() -> None:
    watched = Watched().go(60)
    watched.latency["a"] = 0.05
    watched.go(60)
    watched.silent.add("a")
    watched.plane.record(watched.target("a"), Failure("it answered 500"), watched.now)
    watched.go(10)
    watched.plane.apply(Drain("m", "a"), watched.now)
    watched.go(1)
    watched.plane.apply(Undrain("m", "a"), watched.now)
    watched.silent.clear()
    watched.go(1)
    watched.plane.probed(watched.target("a"), Probe.REFUSED, watched.now)
    watched.go(1)
    text = [" / ".join(changes(item.before, item.entry)) for item in watched.told()]
    wanted = [
        "the record begins: 50 %",
        "its share fell: ",
        "scraping it began to fail: it answered 500",
        'step "stale" began: ',
        "it lost its share: ",
        "it got its share: ",
        "it went away: ",
    ]
    places = [next(n for n, line in enumerate(text) if want in line) for want in wanted]
    assert places == sorted(places), text


def test_a_replica_that_joins_takes_from_the_others_and_they_say_so() -> None:
    watched = Watched().go(60)
    settings = ReplicaSettings.model_validate({"address": "10.0.0.1:83"})
    watched.plane.apply(PutReplica("m", "c", settings), watched.now)
    added = watched.plane.target("m", "c")
    assert added is not None
    watched.plane.probed(added, Probe.HEALTHY, watched.now)
    watched.go(30)
    told = [said for each in watched.told() for said in changes(each.before, each.entry)]
    assert any("because 3 replicas of the pool serve, where it was 2" in item for item in told), (
        told
    )
