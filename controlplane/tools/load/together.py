"""Several things at once, until the one that matters is done or another has failed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(main: Coroutine[Any, Any, T], *beside: Coroutine[Any, Any, None]) -> T:
    """Run them all; those beside end when the main one does.

    A task group would wrap what is raised; here it comes as it is.

    Raises:
        BaseException: What the first of them that failed has raised.
    """
    first = asyncio.create_task(main)
    others = [asyncio.create_task(coroutine) for coroutine in beside]
    try:
        waiting = {first, *others}
        while not first.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {first}:
                task.result()
        return first.result()
    finally:
        for task in (first, *others):
            task.cancel()
        await asyncio.gather(first, *others, return_exceptions=True)
