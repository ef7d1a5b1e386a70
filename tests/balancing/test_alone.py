"""Tiers of one replica each: many Envoys share out long requests, and each sees few of them."""

from dataclasses import replace

import pytest

from controlplane.balancing import Decision, decide
from controlplane.balancing import tiers as limits
from tests.balancing.pools import Play, Serving
from tests.balancing.test_restart import again, held
from tests.balancing.test_sets import BULK, SEARCH, batching, sampled, served

ENVOYS = 12


def slow(factor: float = 20.0, queue: float = 20.0) -> dict[str, Serving]:
    """Replicas that take a second and more for a bulk request, and count the texts that wait."""
    found = {}
    for id_, each in batching().items():
        assert each.batch is not None
        size, took = each.batch
        found[id_] = replace(
            each,
            capacity=each.capacity / factor,
            latency=0.1 * factor,
            batch=(size, took * factor),
            queue=queue,
            are_texts=True,
            reported=1.0,
        )
    return found


def parted(replicas: dict[str, Serving], envoys: int = ENVOYS) -> Play:
    play = Play(sizes=sampled(), envoys=envoys)
    play.run(replicas, 40)
    assert play.decision is not None
    assert play.decision.classes
    return play


def tiers(decision: Decision, name: str) -> set[str]:
    """Names of the tiers of the replicas that a class has."""
    (found,) = (each for each in decision.classes if each.name == name)
    return {found.tier_of(decision.rows[id_]) for id_ in served(decision, name)}


def weight(decision: Decision, id_: str, name: str = BULK) -> int:
    (found,) = (each for each in decision.classes if each.name == name)
    return int(found.weights[decision.rows[id_]])


def are_alone(play: Play) -> bool:
    assert play.decision is not None
    bulk = served(play.decision, BULK)
    return tiers(play.decision, BULK) == {f"replica-{id_}" for id_ in bulk}


def test_each_replica_for_long_requests_has_a_tier_of_its_own_and_those_for_searches_share() -> (
    None
):
    play = parted(slow())
    assert are_alone(play)
    assert play.decision is not None
    assert all(name.startswith("tier-") for name in tiers(play.decision, SEARCH))


def test_of_two_replicas_of_one_kind_the_one_with_more_work_waiting_gets_less() -> None:
    play = parted(slow())
    assert play.decision is not None
    one, other, *_ = sorted(served(play.decision, BULK) - {"a", "b"})
    assert weight(play.decision, one) == weight(play.decision, other)
    replicas = slow()
    after = play.step({**replicas, one: replace(replicas[one], queue=60.0)})
    assert weight(after, one) < 0.7 * weight(after, other)
    assert "The replica has" in "; ".join(step.words for step in after.of(one).steps)


@pytest.mark.parametrize(("factor", "envoys"), [(20.0, 5), (1.0, ENVOYS)])
def test_few_envoys_and_short_requests_leave_replicas_of_one_kind_together(
    factor: float, envoys: int
) -> None:
    """Few Envoys know enough of their own; what is read of short requests comes too late."""
    assert not are_alone(parted(slow(factor), envoys))


def test_a_class_of_very_many_replicas_keeps_its_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ALONE", 3)
    assert not are_alone(parted(slow()))


def test_replicas_do_not_come_together_and_part_again_while_envoys_come_and_go() -> None:
    play = parted(slow())
    found = []
    for envoys in (3, 5, 2, 5, 6):
        play.envoys = envoys
        play.step(slow())
        found.append(are_alone(play))
    assert found == [True, True, False, False, True]


def test_tiers_stay_while_nothing_is_known_of_requests() -> None:
    play = parted(slow())
    play.sizes = None
    play.run(slow(), 5)
    assert are_alone(play)


def test_tiers_outlive_the_control_plane() -> None:
    play = parted(slow())
    before = play.decision
    assert before is not None
    after = held(play, again(play))
    assert tiers(after, BULK) == tiers(before, BULK)
    assert weight(after, "a") == weight(before, "a")


def test_envoys_are_told_where_only_the_tiers_of_a_class_change() -> None:
    play = parted(slow())
    before = play.decision
    assert before is not None
    after = decide(before, play.settings, play.table, play.now, envoys=2, sizes=play.sizes)
    changed = set(after.ids(after.changed(before)))
    assert served(after, BULK) <= changed
