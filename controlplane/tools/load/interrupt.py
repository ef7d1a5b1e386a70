"""Being told to stop: signals in, one exception out, in the task that waits for it."""

import asyncio
import signal
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - it is no error to be told to stop
    """Somebody wants us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number
        """The exit code that a shell expects after this signal."""


class Interrupt:
    """Takes Ctrl-C, SIGTERM and a closed terminal for as long as the event loop runs.

    Once one has come, further ones change nothing: what was started is being ended, and whoever
    presses Ctrl-C twice must not keep it alive.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._number: asyncio.Future[int] = loop.create_future()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._take, number)

    async def watch(self) -> None:
        """Wait for a signal.

        Raises:
            Stopped: It has come.
        """
        raise Stopped(await asyncio.shield(self._number))

    def _take(self, number: int) -> None:
        if not self._number.done():
            self._number.set_result(number)
