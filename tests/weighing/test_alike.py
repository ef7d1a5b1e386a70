"""A pool whose replicas are all alike is weighed by a look at those that have changed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.settings import PoolSettings
from controlplane.weighing import (
    ReplicaInput,
    Weighing,
    amended,
    differing,
    moving,
    serving,
    weigh,
)
from controlplane.weighing.alike import Alike
from controlplane.weighing.round import Round
from tests.lines import lines_run
from tests.weighing.pools import SETTINGS, replica
from tests.weighing.test_policies import TIERS, WEIGHTED

IDS = [f"r{n}" for n in range(60)]
SLOW_START = SETTINGS.balancing.slow_start or 0.0

Step = tuple[float, Mapping[str, ReplicaInput | None]]


def plain(id_: str, **said: Any) -> ReplicaInput:
    return ReplicaInput(id_, **said)


def all_of(ids: Sequence[str] = IDS) -> dict[str, ReplicaInput]:
    return {id_: plain(id_) for id_ in ids}


def weighed(
    known: Mapping[str, ReplicaInput], settings: PoolSettings = SETTINGS, now: float = 0.0
) -> Weighing:
    return weigh(None, settings, list(known.values()), now)


def changed(
    known: Mapping[str, ReplicaInput], of: Mapping[str, ReplicaInput | None]
) -> dict[str, ReplicaInput]:
    put = {id_: it for id_, it in of.items() if it is not None}
    return {**{id_: it for id_, it in known.items() if id_ not in of}, **put}


@st.composite
def steps(draw: st.DrawFn) -> Step:
    passed = draw(st.sampled_from([0.0, 0.25, 5.0, 30.0]))
    found: dict[str, ReplicaInput | None] = {}
    for id_ in draw(st.lists(st.sampled_from([*IDS, "new", "newer"]), max_size=4, unique=True)):
        found[id_] = draw(
            st.one_of(
                st.none(),
                st.builds(
                    plain,
                    st.just(id_),
                    slots=st.one_of(st.none(), st.integers(1, 4)),
                    generation=st.integers(0, 1),
                    ready=st.booleans(),
                    ready_since=st.one_of(st.none(), st.floats(0, 60)),
                    age=st.sampled_from([None, None, None, None, None, 1.0]),
                ),
            )
        )
    return passed, found


@given(st.sampled_from([TIERS, WEIGHTED]), st.lists(steps(), max_size=8))
def test_it_is_what_a_look_at_all_of_them_makes_of_it(
    settings: PoolSettings, life: list[Step]
) -> None:
    known, now = all_of(), 0.0
    weighing = weighed(known, settings)
    for passed, of in life:
        now += passed
        known = changed(known, of)
        by_a_look_at_all = weigh(weighing, settings, list(known.values()), now)
        found = amended(weighing, settings, of, now)
        assert found in (None, by_a_look_at_all)
        weighing = found or by_a_look_at_all


@pytest.mark.parametrize(
    "of",
    [
        {"r1": plain("r1", ready=False)},
        {"r1": plain("r1", slots=None)},
        {"r1": plain("r1", generation=1)},
        {"r1": None, "r2": None},
        {"new": plain("new")},
        {"r1": plain("r1", ready=False), "new": plain("new"), "r2": None},
        {},
    ],
    ids=["drained", "undeclared", "restarted", "gone", "new", "several", "nothing"],
)
@pytest.mark.parametrize("settings", [TIERS, WEIGHTED], ids=["tiers", "weights"])
def test_of_a_few_that_changed_no_other_is_looked_at(
    settings: PoolSettings, of: Mapping[str, ReplicaInput | None]
) -> None:
    known = all_of()
    before = weighed(known, settings)
    found = amended(before, settings, of, 7.0)
    assert found is not None
    assert found == weigh(before, settings, list(changed(known, of).values()), 7.0)
    assert found.at == 7.0
    # The one before still says what it said.
    assert before == weighed(known, settings)


@pytest.mark.parametrize("settings", [TIERS, WEIGHTED], ids=["tiers", "weights"])
def test_the_work_grows_with_what_has_changed(settings: PoolSettings) -> None:
    took = {}
    for many in (100, 3_000):
        before = weighed(all_of([f"r{n}" for n in range(many)]), settings)
        drained = {"r1": plain("r1", ready=False)}

        def work(before: Weighing = before, of: Mapping[str, ReplicaInput] = drained) -> None:
            assert amended(before, settings, of, 7.0) is not None

        took[many] = lines_run(work)
    assert took[3_000] < 2 * took[100]


@pytest.mark.parametrize(
    "one",
    [
        replica("r1"),
        plain("r1", age=0.0),
        plain("r1", gpu_uuid="GPU-1"),
    ],
    ids=["a window", "known before a restart", "a GPU"],
)
def test_one_that_is_not_like_the_others_takes_a_look_at_all(one: ReplicaInput) -> None:
    assert amended(weighed(all_of()), SETTINGS, {"r1": one}, 100.0) is None


@pytest.mark.parametrize("settings", [TIERS, WEIGHTED], ids=["tiers", "weights"])
def test_those_that_join_start_slowly_and_no_other_is_looked_at(settings: PoolSettings) -> None:
    known = all_of()
    weighing, now = weighed(known, settings), 100.0
    changes: dict[float, dict[str, ReplicaInput | None]] = {
        100.0: {"new": plain("new", ready_since=100.0)},
        101.5: {"newer": plain("newer", ready_since=101.5), "r1": plain("r1", ready=False)},
        # Those that are on their way go on, and may be drained, restart or go.
        103.0: {"new": plain("new", ready_since=100.0, ready=False)},
        104.0: {"new": plain("new", ready_since=100.0), "r1": None},
        106.0: {"newer": plain("newer", generation=1, ready_since=106.0)},
        118.0: {"newest": plain("newest", ready_since=118.0)},
        119.0: {"newest": None},
    }
    while now < 119.5:
        of = changes.get(now, {})
        known = changed(known, of)
        found = amended(weighing, settings, of, now)
        assert found is not None
        replicas = {it.id: it for it in known.values()}
        ready = {it.id for it in known.values() if it.ready}
        rules = Round(weighing, settings, replicas, ready, now, None)
        assert found == rules.weighing({}, suspect=False)
        assert moving(found) == {
            id_ for id_, it in found.replicas.items() if it.state.relative != 1
        }
        weighing, now = found, now + 0.25
    assert moving(weighing) == set()
    assert not weighing.is_moving


def test_the_work_of_a_slow_start_grows_with_those_that_start() -> None:
    took = {}
    for many in (100, 3_000):
        before = weighed(all_of([f"r{n}" for n in range(many)]))
        joined = amended(before, SETTINGS, {"new": plain("new", ready_since=100.0)}, 100.0)
        assert moving(joined) == {"new"}

        def work(before: Weighing | None = joined) -> None:
            assert amended(before, SETTINGS, {}, 103.0) is not None

        took[many] = lines_run(work)
    assert took[3_000] < 2 * took[100]


def test_while_as_many_start_slowly_as_do_not_they_are_held_back_and_with_one_more_none_is() -> (
    None
):
    known = all_of(IDS[:4])
    before = weighed(known)
    late = {id_: plain(id_, ready_since=100.0) for id_ in ("n1", "n2", "n3", "n4", "n5")}
    four = dict(list(late.items())[:4])
    for joining, is_slow in ((four, True), (late, False)):
        found = weigh(before, SETTINGS, [*known.values(), *joining.values()], 100.0)
        assert (moving(found) == joining.keys()) is is_slow
        assert bool(moving(found)) is is_slow


def test_where_all_start_slowly_together_none_is_held_back_and_all_are_looked_at() -> None:
    known = {id_: plain(id_, ready_since=100.0) for id_ in IDS}
    before = weighed(known, now=100.0)
    assert isinstance(before.replicas, Alike)
    assert amended(before, SETTINGS, {"r1": None}, 101.0) is None
    # One that was ready long before them is not the last.
    assert amended(before, SETTINGS, {"r1": plain("r1", ready_since=50.0)}, 101.0) is None
    assert amended(before, SETTINGS, {"r1": None}, 100.0 + SLOW_START) is not None


def test_one_that_is_drained_starts_nothing() -> None:
    late = plain("r1", ready=False, ready_since=100.0)
    assert amended(weighed(all_of()), SETTINGS, {"r1": late}, 101.0) is not None


def test_once_shares_have_moved_all_are_looked_at_again() -> None:
    weighing: Weighing | None = weighed(all_of())
    drained = 0
    while weighing is not None and drained < 60:
        last, id_ = weighing, IDS[drained]
        weighing = amended(weighing, SETTINGS, {id_: plain(id_, ready=False)}, 0.0)
        drained += 1
    # One of 57 has 5.3 % more than one of 60.
    assert drained == 3
    assert serving(last) == 58


def test_a_pool_that_becomes_empty_or_has_another_policy_is_weighed_as_a_whole() -> None:
    alone = {"r1": plain("r1", ready=False)}
    assert amended(weighed(alone), SETTINGS, {"r1": None}, 0.0) is None
    assert amended(weighed(all_of(), TIERS), WEIGHTED, {"r1": None}, 0.0) is None


def test_what_was_weighed_by_the_rules_is_weighed_by_them_again() -> None:
    measured = weigh(None, SETTINGS, [replica("r1"), plain("r2")], 0.0)
    assert amended(measured, SETTINGS, {"r2": None}, 1.0) is None
    assert amended(None, SETTINGS, {"r2": None}, 1.0) is None


def test_tokens_are_kept() -> None:
    before = replace(weighed(all_of()), tokens=12.0)
    found = amended(before, SETTINGS, {"r1": None}, 1.0)
    assert found is not None
    assert found.tokens == 12.0


def test_those_that_differ_are_those_that_were_looked_at_since() -> None:
    first = weighed(all_of())
    second = amended(first, SETTINGS, {"r1": plain("r1", ready=False), "r2": None}, 0.0)
    assert second is not None
    third = amended(second, SETTINGS, {"new": plain("new"), "r3": plain("r3")}, 0.0)
    assert third is not None
    assert differing(first, second) == {"r1", "r2"}
    # Of r3 nothing is known that was not known before; that it was looked at is enough.
    assert differing(first, third) == {"r1", "r2", "r3", "new"}
    assert differing(third, third) == set()
    assert differing(None, third) is None
    fourth = amended(third, SETTINGS, {"late": plain("late", ready_since=0.0)}, 0.0)
    assert fourth is not None
    assert differing(third, fourth) == {"late"}
    fifth = amended(fourth, SETTINGS, {}, 1.0)
    assert fifth is not None
    assert differing(fourth, fifth) == {"late"}
    again = weigh(third, SETTINGS, list(all_of().values()), 1.0)
    assert differing(third, again) == {*IDS, "new"}, "all were looked at"


def test_where_the_weight_of_all_has_changed_all_differ() -> None:
    late = {"late": plain("late", ready_since=0.0)}
    before = amended(weighed(all_of()), SETTINGS, late, 0.0)
    after = amended(before, SETTINGS, {}, SLOW_START)
    assert before is not None
    assert after is not None
    # It has come to the tier of the others, on its last step.
    assert after.replicas["r1"].weight < 1000
    assert differing(before, after) is None


def test_of_those_that_were_weighed_by_the_rules_all_may_differ() -> None:
    rules = weigh(None, SETTINGS, [replica("r1"), plain("gone")], 0.0)
    assert differing(rules, weighed(all_of())) is None
    assert differing(weighed(all_of()), rules) is None


def test_how_many_serve_is_counted() -> None:
    inputs = [plain("a"), plain("b", ready=False), plain("c")]
    assert serving(weigh(None, SETTINGS, inputs, 0.0)) == 2
    assert serving(weigh(None, SETTINGS, [*inputs, replica("d")], 0.0)) == 3
