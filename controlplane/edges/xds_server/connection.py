"""One open stream: a task that reads it, and one that writes what is due."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import grpc

from controlplane.edges.xds_server.audience import Catalog
from controlplane.edges.xds_server.entrance import Entrance
from controlplane.edges.xds_server.services import AnyStream
from controlplane.xds.errors import ProtocolError
from controlplane.xds.events import Disconnected, Event
from controlplane.xds.stream import Response

_log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Connection:
    """One open stream, shared by the task that reads it and the one that writes it.

    Attributes:
        stream: What decides.
        ending: Status and message to end it with, once that is decided.
    """

    def __init__(
        self,
        stream: AnyStream,
        *,
        report: Callable[["Connection", Event], None],
        settled: Callable[["Connection"], None],
        clock: Callable[[], float],
    ) -> None:
        """Prepare to serve.

        Args:
            stream: Before its first request.
            report: Told of everything that happens on it.
            settled: Told whenever all that could be sent is answered.
            clock: Seconds that never go back.
        """
        self.stream = stream
        self.ending: tuple[grpc.StatusCode, str] | None = None
        self._report = report
        self._settled = settled
        self._leave: Callable[[], None] | None = None
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Have the writer look for something to send."""
        self._woken.set()

    def end(self, code: grpc.StatusCode, message: str = "") -> None:
        """Have the writer end the stream; the first reason counts."""
        self.ending = self.ending or (code, message)
        self._woken.set()

    async def read(self, requests: AsyncIterator[bytes]) -> None:
        """Take requests as fast as they come, also while the writer waits for the client."""
        stream = self.stream
        try:
            async for data in requests:
                for event in stream.receive(data, self._clock()):
                    self._report(self, event)
                if stream.has_work:
                    self._woken.set()
                elif stream.is_quiet:
                    self._caught_up()
            self.end(grpc.StatusCode.OK)
        except ProtocolError as error:
            self.end(grpc.StatusCode[error.code], error.message)
        except Exception as error:  # noqa: BLE001 - the last frame of a task; it is logged
            # No client may learn of our faults, nor wait for a stream that nobody reads.
            _log.exception("a fault of ours ends the stream of a client")
            self.end(grpc.StatusCode.INTERNAL, f"internal error: {type(error).__name__}")

    async def write(
        self,
        context: Context,
        newest: Callable[[], Catalog],
        entrance: Entrance,
        timeout: float,  # noqa: ASYNC109 - of each write, not of this call
    ) -> None:
        """Send what is due whenever woken, until the stream is to end.

        Args:
            context: Of the stream.
            newest: The newest catalog.
            entrance: To pass before the first response.
            timeout: Seconds after which a client that reads nothing is cut off.
        """
        await self._woken.wait()
        self._leave = leave = await entrance.enter()
        try:
            while await self._woken.wait():
                self._woken.clear()
                while response := self._next(newest):
                    try:
                        async with asyncio.timeout(timeout):
                            await context.write(response.encoded)
                    except TimeoutError:
                        problem = f"the client read nothing for {timeout:g} s"
                        self.end(grpc.StatusCode.DEADLINE_EXCEEDED, problem)
                        return
                    self._report(self, response.event)
                if self.ending:
                    return
                if self.stream.is_quiet:
                    self._caught_up()
        finally:
            leave()
            self._report(self, Disconnected(self.ending[1] if self.ending else ""))

    def _caught_up(self) -> None:
        if self._leave:
            self._leave()
        self._settled(self)

    def _next(self, newest: Callable[[], Catalog]) -> Response | None:
        view = self.stream.view
        if self.ending or view is None:
            return None
        return self.stream.next_response(newest().view(view), self._clock())
