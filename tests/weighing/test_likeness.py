import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.weighing.likeness import Measured, kinds
from tests.lines import lines_run


def one(capacity: float, error: float = 0.1, kind: str | None = None) -> Measured:
    return Measured(math.log(capacity), error**2, kind)


def test_replicas_that_cannot_be_told_apart_are_exactly_equal() -> None:
    found = kinds({"a": one(100), "b": one(120), "c": one(400), "d": one(390)})
    assert found["a"] == found["b"]
    assert found["c"] == found["d"]
    assert found["a"].name == "a"
    assert math.exp(found["a"].log) == pytest.approx(math.sqrt(100 * 120))


def test_a_mean_counts_each_as_much_as_it_is_certain() -> None:
    found = kinds({"a": one(100, 0.05), "b": one(130, 0.5)})
    assert math.exp(found["b"].log) == pytest.approx(100, rel=0.01)


def test_what_is_certain_to_differ_stays_apart() -> None:
    found = kinds({"a": one(100, 0.05), "b": one(130, 0.05)})
    assert found["a"].size == found["b"].size == 1


def test_however_uncertain_no_kind_spans_more_than_half_as_much_again() -> None:
    found = kinds({"a": one(100, 5.0), "b": one(160, 5.0)})
    assert found["a"].log != found["b"].log


def test_those_that_were_together_stay_so_until_one_is_clearly_off() -> None:
    together = {id_: one(100, 0.1, "a") for id_ in "abc"}
    assert len(set(kinds({**together, "d": one(140, 0.1, "a")}).values())) == 1
    assert len(set(kinds({**together, "d": one(140, 0.1)}).values())) == 2
    assert len(set(kinds({**together, "d": one(170, 0.1, "a")}).values())) == 2


def test_two_that_were_together_part_when_they_differ() -> None:
    found = kinds({"a": one(100, 0.1, "a"), "b": one(180, 0.1, "a")})
    assert found["a"].size == found["b"].size == 1


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1, 100)), st.randoms())
def test_the_order_does_not_matter(capacities: dict[str, float], chance: object) -> None:
    ours = {id_: one(capacity) for id_, capacity in capacities.items()}
    keys = list(ours)
    chance.shuffle(keys)  # type: ignore[attr-defined]
    assert kinds({id_: ours[id_] for id_ in keys}) == kinds(ours)


def test_the_work_for_many_that_are_new_and_alike_grows_with_their_number() -> None:
    def work(count: int) -> int:
        new = {f"r{number:05}": one(100 + number / count) for number in range(count)}
        return lines_run(lambda: kinds(new))

    assert work(800) < 5 * work(200)
