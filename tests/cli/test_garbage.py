"""No collection of garbage looks at many objects, however many there are."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.cli import serve as garbage


class Kept:
    """An object that the collector looks at."""

    other: Any = None


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    before = gc.get_threshold()
    garbage.collect_little()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def looked_at(at: list[int]) -> Any:
    """A callback of the collector that notes how many objects each collection looks at."""

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            at.append(sum(len(gc.get_objects(each)) for each in range(info["generation"] + 1)))

    return note


def test_while_a_process_grows_each_look_is_at_few_objects() -> None:
    at: list[int] = []
    note = looked_at(at)
    gc.callbacks.append(note)
    try:
        kept = []
        for number in range(200_000):
            kept.append(Kept())
            if number % 50_000 == 0:
                garbage.look()
    finally:
        gc.callbacks.remove(note)
    assert len(at) > 50
    assert max(at) < 3 * garbage.OLD
    assert gc.get_freeze_count() > 100_000


def test_old_garbage_is_freed_while_old_objects_are_few() -> None:
    circles = [Kept() for _ in range(garbage.OLD // 2)]
    for each in circles:
        each.other = each
    gc.collect()
    one = weakref.ref(each)
    del circles, each
    garbage.look()
    assert one() is None


def test_what_was_left_out_and_became_garbage_is_freed_before_a_process_has_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = gc.get_freeze_count()
    monkeypatch.setattr(garbage, "GROWN", 0)
    circle = Kept()
    circle.other = circle
    one = weakref.ref(circle)
    gc.freeze()
    del circle
    garbage.look()
    # It has not grown enough.
    assert garbage.look_at_all_after(kept) == kept
    assert one() is not None
    most = [Kept() for _ in range(kept + 1)]
    gc.freeze()
    assert garbage.look_at_all_after(kept) > kept
    assert one() is None
    assert len(most) > kept
