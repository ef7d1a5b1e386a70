"""Run several things at once, and stop all of them on a signal."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - a signal is no error
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number
        """The exit code that a shell expects after this signal."""


class Interrupt:
    """Takes Ctrl-C, SIGTERM and a closed terminal for as long as the event loop runs.

    Only the first signal counts: a second Ctrl-C must not interrupt the end of what was started.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._number: asyncio.Future[int] = loop.create_future()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._take, number)

    async def watch(self) -> None:
        """Wait for a signal."""
        raise Stopped(await asyncio.shield(self._number))

    def _take(self, number: int) -> None:
        if not self._number.done():
            self._number.set_result(number)


async def together(main: Coroutine[Any, Any, T], *beside: Coroutine[Any, Any, None]) -> T:
    """Run coroutines at once; those beside are cancelled when the main one has ended.

    A task group would wrap what is raised; here it is raised as it is.
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
