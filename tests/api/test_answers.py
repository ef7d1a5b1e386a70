"""Long answers are encoded in pieces, and the result is the same."""

import json
from itertools import count
from typing import Any
from weakref import WeakSet

import pytest

from controlplane.api.answers import FEW, encoded
from controlplane.turns import SLICE, Turns


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": 1, "b": [1, "2", None, {"c": 0.5}]},
        {"replicas": [{"id": f"r{n}", "list": [n]} for n in range(FEW * 3)], "next": None},
        {"pools": [{"name": "p", "replicas": [{"ü": '"'}] * (FEW + 1)}, {"name": "q"}]},
    ],
)
async def test_what_is_encoded_in_pieces_is_the_same(document: dict[str, Any]) -> None:
    assert await encoded(document, Turns()) == json.dumps(document)


async def test_a_long_list_is_encoded_in_pieces() -> None:
    ticks = count()
    turns = Turns(lambda: next(ticks) * SLICE)
    await encoded({"pools": [{"replicas": [{"id": n} for n in range(FEW + 1)]}]}, turns)
    assert next(ticks) > FEW


class Item(dict[str, int]):
    """One that can be watched."""


async def test_the_items_of_a_generator_are_a_list_of_which_few_live_at_the_same_time() -> None:
    alive: WeakSet[Any] = WeakSet()
    most = 0

    class Watched:
        pass

    def items() -> Any:
        nonlocal most
        for number in range(FEW * 3):
            item, watched = Item(id=number), Watched()
            item.watched = watched  # type: ignore[attr-defined]
            alive.add(watched)
            most = max(most, len(alive))
            yield item
            del item, watched

    text = await encoded({"replicas": items(), "next": None}, Turns())
    assert json.loads(text) == {"replicas": [{"id": n} for n in range(FEW * 3)], "next": None}
    assert most <= 2
