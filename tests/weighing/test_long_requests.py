"""What parting by length is told of a pool, and where it is not done."""

from dataclasses import replace

import pytest

from controlplane.settings import BalancingSettings
from controlplane.weighing import ReplicaInput, Weighing, weigh
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.conclusion import known_states
from controlplane.weighing.explanation import Step
from controlplane.weighing.fast import Member, Seen
from controlplane.weighing.long_requests import CHECKED, divided, may_divide, members_of
from controlplane.weighing.sizes import Sizes
from tests.weighing.members import FAST, pool
from tests.weighing.pools import SETTINGS, replica, settled, window

SHARES = {id_: it.share for id_, it in pool().items()}
"""While nothing leans."""


def counting(**changes: object) -> ReplicaInput:
    """A replica that counts tokens."""
    seen = replace(window(), count=400, tokens=40_000.0, tokens_in=20_000.0)
    return replace(replica("a"), window=replace(seen, **changes))  # type: ignore[arg-type]


def told_of(it: ReplicaInput, *, band: int | None = 3) -> Member:
    """What is told of a replica whose like was measured for a while."""
    before = settled([replace(replica("a"), generation=it.generation, slots=it.slots)])
    states = known_states(before, {it.id: it})
    known = Capacities(before, states, {it.id: it}, {it.id}, {it.id})
    known.measure(None, before.at, {it.id: []})
    bands = {} if band is None else {it.id: band}
    return members_of({it.id: it}, known, {it.id: 2.0}, bands, {it.id})[it.id]


def test_a_replica_is_as_fast_as_one_of_its_slots() -> None:
    idle = replace(replica("a"), window=None)
    one, four = told_of(idle), told_of(replace(idle, slots=4))
    assert one.speed == pytest.approx(100, rel=0.05)
    # With one request in flight all the time, four slots do not make any of them faster.
    assert four.speed < one.speed
    assert (one.band, one.share) == (3, 2.0)
    assert told_of(counting(), band=None).band is None


def test_it_is_known_by_what_its_capacity_rests_on() -> None:
    idle = replace(replica("a"), window=None)
    assert told_of(idle).requests > 1000
    assert told_of(replace(idle, id="b")).requests == 0


def test_what_it_did_belongs_to_its_generation() -> None:
    assert told_of(replace(counting(), generation=7)).seen == Seen(7, 400, 40_000.0)
    assert told_of(counting(tokens=None, tokens_in=None)).seen is None
    assert told_of(replica("a")).seen is None


def test_how_long_its_requests_were_lately() -> None:
    assert told_of(counting()).tokens == (100.0, 200)
    assert told_of(counting(tokens_in=None)).tokens is None
    assert told_of(replace(replica("a"), window=None)).tokens is None


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "weighted-least-request"},
        {"policy": "least-request"},
        {"long_requests": "any-replica"},
        {"locality": "nearest"},
    ],
)
def test_requests_stay_together_where_something_else_decides(settings: dict[str, str]) -> None:
    balancing = BalancingSettings.model_validate(settings)
    changed = SETTINGS.model_copy(update={"balancing": balancing})
    assert not may_divide(changed)
    assert may_divide(SETTINGS)
    steps: dict[str, list[Step]] = {id_: [] for id_ in pool()}
    assert divided(None, changed, pool(), SHARES, steps, 0.0) == (None, {})
    assert divided(None, SETTINGS, pool(), SHARES, steps, 0.0)[0] is not None


def test_long_requests_go_their_way_when_envoys_have_checked_every_replica_once() -> None:
    members = pool()
    steps: dict[str, list[Step]] = {id_: [] for id_ in members}
    notice = SETTINGS.health_check.timeout + CHECKED
    found, of_short = divided(None, SETTINGS, members, SHARES, steps, 10.0)
    assert found is not None
    assert (found.begun, of_short) == (10.0 + notice, {})
    assert not any(steps.values())
    before = parted_before(found)
    assert divided(before, SETTINGS, members, SHARES, steps, 9.9 + notice)[1] == {}
    after, of_short = divided(before, SETTINGS, members, SHARES, steps, 10.0 + notice)
    assert after is not None
    assert set(of_short) == set(FAST)
    assert of_short["f0"] == pytest.approx(1 - after.part / (8 / 14))
    said = {id_: [step.name for step in taken] for id_, taken in steps.items() if taken}
    assert said == {id_: ["long requests"] for id_ in FAST}


def parted_before(sizes: Sizes) -> Weighing:
    return replace(weigh(None, SETTINGS, [replica(id_) for id_ in pool()], 0.0), sizes=sizes)


def test_traffic_that_leans_for_a_moment_moves_no_threshold() -> None:
    members, steps = pool(), {id_: list[Step]() for id_ in pool()}
    found, _ = divided(None, SETTINGS, members, SHARES, steps, 0.0)
    assert found is not None
    # Close to what the fast replicas can do, as it may be for a while.
    before = parted_before(replace(found, part=0.45, begun=0.0, since=0.0))
    leaned = {id_: it * (0.6 if id_ in FAST else 1.3) for id_, it in SHARES.items()}
    straight, of_short = divided(before, SETTINGS, members, SHARES, steps, 1.0)
    leaning, of_less = divided(before, SETTINGS, members, leaned, steps, 1.0)
    assert leaning == straight
    assert leaning is not None
    assert (leaning.threshold, leaning.since) == (found.threshold, 0.0)
    # They get fewer of the short ones all the same.
    assert of_less["f0"] < of_short["f0"]


def test_parting_does_not_end_because_it_ends_the_reserve() -> None:
    # One of speed 4 and seventeen of 1: 0.19 of what they carry, 0.23 of the shares with a reserve.
    members = {"f": replace(pool()["f0"], share=5.02)} | {f"s{n}": pool()["s0"] for n in range(17)}
    shares = {id_: it.share for id_, it in members.items()}
    steps = {id_: list[Step]() for id_ in members}
    assert divided(None, SETTINGS, members, shares, steps, 0.0)[0] is None
    # A little more, and it lasts when shares are what they carry, or a bit less for a while.
    more = {id_: it for id_, it in members.items() if id_ not in ("s15", "s16")}
    found, _ = divided(None, SETTINGS, more, shares, steps, 0.0)
    assert found is not None
    before = parted_before(found)
    less = {**more, "f": replace(more["f"], share=3.2)}
    assert divided(before, SETTINGS, less, shares, steps, 10.0)[0] is not None
    # Others of as little do not take their place.
    other = replace(before, sizes=replace(found, fast=frozenset({"f", "s0"})))
    assert divided(other, SETTINGS, less, shares, steps, 10.0)[0] is None
    ill = {**more, "f": replace(more["f"], share=0.5)}
    assert divided(before, SETTINGS, ill, shares, steps, 10.0)[0] is None
