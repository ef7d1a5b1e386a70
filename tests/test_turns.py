"""Long work gives way to others, and what comes of it is the same."""

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from controlplane.turns import SLICE, Turns, in_turns


async def others(turns: Turns, pieces: int) -> int:
    """How often others have their turn during so many pieces of work."""
    had = 0

    async def count_turns() -> None:
        nonlocal had
        while True:
            await asyncio.sleep(0)
            had += 1

    other = asyncio.create_task(count_turns())
    for _ in range(pieces):
        await turns.give_way()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    return had


async def test_others_have_a_turn_after_every_slice() -> None:
    ticks = count()
    assert await others(Turns(lambda: next(ticks) * SLICE), 100) >= 50


async def test_short_work_is_not_interrupted() -> None:
    assert await others(Turns(lambda: 0.0), 100) == 0


async def test_what_other_tasks_take_between_pieces_does_not_count() -> None:
    taken = 0.0

    def pieces() -> Iterator[None]:
        nonlocal taken
        for _ in range(4):
            taken += SLICE
            yield

    async def other() -> None:
        nonlocal taken
        for _ in range(3):
            taken += 100.0
            await asyncio.sleep(0)

    working = asyncio.create_task(in_turns(pieces(), lambda: taken))
    await asyncio.gather(working, other())
    assert working.result() == pytest.approx(4 * SLICE)
    assert taken > 300
