"""Long answers are made a piece at a time, so that others have their turn in between.

There is one event loop, and a pool of 10,000 replicas takes seconds to describe.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

SLICE: Final = 0.01
"""Seconds of work between two turns of others."""

FEW: Final = 64
"""Items that are encoded together."""


class Turns:
    """Counts how long somebody has worked, and lets others work."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Begin to work.

        Args:
            clock: Seconds that never go back.
        """
        self._clock = clock
        self._until = clock() + SLICE

    async def give_way(self) -> None:
        """Let others work, if it is their turn; call it after every piece of work."""
        if self._clock() >= self._until:
            await asyncio.sleep(0)
            self._until = self._clock() + SLICE


async def encoded(value: Any, turns: Turns) -> str:
    """JSON of plain data, as `json.dumps` writes it."""
    if not _is_long(value):
        return json.dumps(value, allow_nan=False)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {await encoded(it, turns)}" for key, it in value.items()]
        return f"{{{', '.join(parts)}}}"
    items = []
    for item in value:
        items.append(await encoded(item, turns))
        await turns.give_way()
    return f"[{', '.join(items)}]"


def _is_long(value: Any) -> bool:
    """Whether there is a long list in it, at a depth where answers have any."""
    if isinstance(value, dict):
        return any(isinstance(it, (dict, list)) and _is_long(it) for it in value.values())
    if isinstance(value, list):
        return len(value) > FEW or any(isinstance(it, dict) and _is_long(it) for it in value)
    return False
