"""How tasks hand over to each other without ever queueing: a latest-wins slot, and a notice.

A reader that is slow sees the newest value when it looks, and none of those in between.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds one value and wakes everybody who waits for a newer one."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._revision = 0
        self._newer = asyncio.Event()

    @property
    def value(self) -> T:
        return self._value

    @property
    def revision(self) -> int:
        """How often the value was set."""
        return self._revision

    def set(self, value: T) -> None:
        """Replace the value and wake those who wait."""
        self._value = value
        self._revision += 1
        newer, self._newer = self._newer, asyncio.Event()
        newer.set()

    async def newer_than(self, revision: int) -> int:
        """Wait until the value was set again after `revision`; returns the new revision."""
        while self._revision <= revision:
            await self._newer.wait()
        return self._revision


class Notice:
    """Says that something was noticed, and since when it waits to be looked at."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._noticed = asyncio.Event()
        self._since: float | None = None

    def set(self) -> None:
        if self._since is None:
            self._since = self._clock()
        self._noticed.set()

    async def wait(self) -> None:
        await self._noticed.wait()

    def clear(self, now: float) -> float:
        """It is looked at now; returns when the first of it was noticed, `now` if nothing was."""
        since, self._since = self._since, None
        self._noticed.clear()
        return now if since is None else since
