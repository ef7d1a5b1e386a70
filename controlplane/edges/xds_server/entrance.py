"""How many streams may catch up at a time.

When a control plane restarts, all Envoys connect at once. Served all together, each would get its
first answer when the last one gets it, and those that are connected their updates then; one after
the other, most have theirs early.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress


class Entrance:
    """Admits streams in the order in which they come."""

    def __init__(self, places: int, seconds: float) -> None:
        """Open it.

        Args:
            places: Streams that may catch up at a time.
            seconds: After which a stream gives its place up even if it has not caught up: a client
                that acknowledges nothing must not keep others out.
        """
        self._places = asyncio.Semaphore(places)
        self._seconds = seconds

    async def enter(self) -> Callable[[], None]:
        """Wait for a place.

        Returns:
            What gives it up; it may be called more than once.
        """
        await self._places.acquire()
        held = [self._places]

        def leave() -> None:
            timer.cancel()
            with suppress(IndexError):
                held.pop().release()

        timer = asyncio.get_running_loop().call_later(self._seconds, leave)
        return leave
