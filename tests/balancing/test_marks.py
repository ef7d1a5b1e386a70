"""Numbers by row that say of which replicas something else is decided than before."""

from dataclasses import replace

import pytest

from controlplane.balancing import Decision
from controlplane.balancing.explain import is_telling
from tests.balancing.pools import Play, Serving, pool, settings_of

CALM = pool(100, 100, 400, 100, memory=0.5, queue=0.0)
EVENTS: tuple[dict[str, Serving], ...] = (
    {},
    {"a": replace(CALM["a"], queue=900.0)},
    {"b": replace(CALM["b"], failing=0.4)},
    {"c": replace(CALM["c"], memory=0.93), "a": replace(CALM["a"], memory=0.99)},
    {"d": replace(CALM["d"], silent=True)},
    {"b": Serving(20, memory=0.5, queue=0.0)},
    {"a": replace(CALM["a"], generation=1, ready_since=20.0)},
)


def told(decision: Decision, id_: str) -> tuple[object, ...]:
    """What people are told of a replica, without the numbers."""
    found = decision.of(id_)
    steps = {step.name for step in found.steps if is_telling(step.name, step.before, step.after)}
    return found.tier, found.drained, found.stale, found.classes, steps


@pytest.mark.parametrize("policy", ["capacity-tiers", "weighted-least-request", "least-request"])
def test_marks_change_exactly_where_people_are_told_something_else(policy: str) -> None:
    play = Play(settings_of(policy=policy))
    before = play.run(CALM, 10)
    changes = 0
    for event in EVENTS:
        for _ in range(12):
            now = play.step({**CALM, **event})
            marked, changed = now.marked(before), now.changed(before)
            for id_ in "abcd":
                if event.get(id_, CALM[id_]).generation:
                    continue  # Another process is always another.
                row, (old, new) = now.rows[id_], (before.of(id_), now.of(id_))
                assert marked[row] == (told(before, id_) != told(now, id_))
                same = (old.weight, *told(before, id_)[:3]) == (new.weight, *told(now, id_)[:3])
                assert changed[row] != same
                changes += int(marked[row])
            before = now
    assert changes >= 4


def test_nothing_is_copied_where_nothing_is_new() -> None:
    """Also in a table some rows of which nobody has."""
    play = Play()
    first = play.run(CALM, 5)
    assert len(first.rows) < len(first.weight)
    play.now += 1.0
    assert play.decide().state.records is first.state.records
