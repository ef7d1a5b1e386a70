"""Do long work a piece at a time, so that other tasks have their turn in between.

There is one event loop, and a pool of 10,000 replicas takes seconds to describe.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

SLICE: Final = 0.01
"""Seconds of work between two turns of others."""


class Turns:
    """Counts how long somebody has worked, and lets others work."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._until = clock() + SLICE

    async def give_way(self) -> None:
        """Let others work, if it is their turn; call it after every piece of work."""
        if self._clock() >= self._until:
            await asyncio.sleep(0)
            self._until = self._clock() + SLICE


async def in_turns(pieces: Iterable[object], cpu: Callable[[], float] = time.thread_time) -> float:
    """Do all pieces of some work; returns the seconds of CPU that they took, without others'."""
    turns, spent, begun = Turns(cpu), 0.0, cpu()
    for _ in pieces:
        spent += cpu() - begun
        await turns.give_way()
        begun = cpu()
    return spent + cpu() - begun


async def result_in_turns(pieces: Generator[object, None, T]) -> T:
    """Do all pieces of some work, and return what comes of it."""
    turns = Turns()
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            found: T = end.value
            return found
        await turns.give_way()
