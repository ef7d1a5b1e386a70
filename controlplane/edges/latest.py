"""A latest-wins slot: how one task hands a value to others without ever queueing.

A reader that is slow sees the newest value when it looks, and none of those in between.
"""

import asyncio
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
        """The newest value."""
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
