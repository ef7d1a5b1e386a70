"""Several things at once: what ends them, and what comes out."""

import asyncio

import pytest

from controlplane.tools.interrupt import together


async def for_ever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("for ever")


async def soon(value: str) -> str:
    await asyncio.sleep(0.01)
    return value


async def fails() -> None:
    await asyncio.sleep(0.01)
    raise LookupError("as it is")


async def test_the_main_one_ends_the_others() -> None:
    ended: list[str] = []
    assert await together(soon("done"), for_ever(ended)) == "done"
    assert ended == ["for ever"]


async def test_a_failure_beside_ends_the_main_one_and_comes_as_it_is() -> None:
    ended: list[str] = []
    with pytest.raises(LookupError, match="as it is"):
        await together(for_ever(ended), fails())
    assert ended == ["for ever"]


async def test_one_that_is_done_early_ends_nothing() -> None:
    async def at_once() -> None:
        return

    assert await together(soon("done"), at_once()) == "done"


async def test_being_cancelled_ends_all_of_them() -> None:
    ended: list[str] = []
    task = asyncio.create_task(together(for_ever(ended), for_ever(ended)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["for ever", "for ever"]
