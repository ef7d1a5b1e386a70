"""Long answers are made a piece at a time, so that others have their turn in between.

There is one event loop, and a pool of 10,000 replicas takes seconds to describe.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

SLICE: Final = 0.01
"""Seconds of work between two turns of others."""


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
