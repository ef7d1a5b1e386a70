"""Slots to compute in, given out first come first served, and the line of those who wait."""

from __future__ import annotations

import asyncio
from collections import deque


class QueueFullError(Exception):
    """The line is as long as it may get."""


class Slots:
    """A fixed number of slots; who finds none free waits in line, up to a limit."""

    def __init__(self, count: int, queue: int) -> None:
        """Make all slots free.

        Args:
            count: How many requests compute at once.
            queue: How many more may wait.
        """
        self._free = count
        self._limit = queue
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    async def take(self) -> None:
        """Wait for a slot; whoever got one must ``give_back`` it.

        Raises:
            QueueFullError: At once, when the line is full.
        """
        # A free slot never coexists with a line: give_back hands it on without freeing it.
        if self._free:
            self._free -= 1
            return
        if len(self._line) >= self._limit:
            raise QueueFullError(f"The queue is full: {self._limit} requests are waiting")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # The slot arrived in the same turn of the loop as the cancel.
            elif turn in self._line:
                self._line.remove(turn)
            raise

    def give_back(self) -> None:
        """Hand the slot to the first in line, or free it."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
