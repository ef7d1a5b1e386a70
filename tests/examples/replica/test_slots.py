from __future__ import annotations

import asyncio

import pytest

from embedding_replica.slots import QueueFullError, Slots
from tests.processes import DEADLINE


async def turn() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_compute_at_once_as_there_are_slots() -> None:
    slots = Slots(2, queue=9)
    takers = [asyncio.create_task(slots.take()) for _ in range(3)]
    await turn()
    assert [taker.done() for taker in takers] == [True, True, False]
    assert slots.waiting == 1
    slots.give_back()
    await takers[2]


async def test_who_waits_longest_is_served_first() -> None:
    slots = Slots(1, queue=9)
    await slots.take()
    served = []

    async def taker(name: str) -> None:
        await slots.take()
        served.append(name)
        slots.give_back()

    tasks = [asyncio.create_task(taker(name)) for name in "abcd"]
    await turn()
    slots.give_back()
    await asyncio.gather(*tasks)
    assert served == ["a", "b", "c", "d"]


async def test_a_newcomer_does_not_overtake_who_was_just_given_a_slot() -> None:
    slots = Slots(1, queue=9)
    await slots.take()
    first = asyncio.create_task(slots.take())
    await turn()
    slots.give_back()
    newcomer = asyncio.create_task(slots.take())
    await turn()
    assert first.done()
    assert not newcomer.done()
    newcomer.cancel()


async def test_who_finds_the_line_full_is_refused_at_once() -> None:
    slots = Slots(1, queue=1)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await turn()
    with pytest.raises(QueueFullError):
        await slots.take()
    waiting.cancel()


async def test_who_gives_up_leaves_the_line() -> None:
    slots = Slots(1, queue=9)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await turn()
    waiting.cancel()
    await turn()
    assert slots.waiting == 0
    slots.give_back()
    await slots.take()


async def test_a_slot_given_to_someone_who_gives_up_at_that_moment_is_not_lost() -> None:
    slots = Slots(1, queue=9)
    await slots.take()
    unlucky = asyncio.create_task(slots.take())
    await turn()
    slots.give_back()
    unlucky.cancel()
    await turn()
    assert unlucky.cancelled()
    async with asyncio.timeout(DEADLINE):
        await slots.take()
