"""One open stream: a task that reads requests, and one that writes responses."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar

import grpc

from controlplane.xds.events import FAULT, Disconnected, Event
from controlplane.xds.node import ProtocolError
from controlplane.xds.services import Catalog, PushObserver
from controlplane.xds.stream import Response, Stream


def _once(action: Callable[[], None]) -> Callable[[], None]:
    """Return a callback that runs `action` at the first call only."""
    held = [action]

    def call() -> None:
        if held:
            held.pop()()

    return call


class StartupThrottle:
    """Admits streams in the order in which they come."""

    def __init__(self, places: int, seconds: float) -> None:
        """Admit so many streams at a time, each for a while: none waits for a silent one."""
        self._places = asyncio.Semaphore(places)
        self._seconds = seconds

    async def enter(self) -> Callable[[], None]:
        """Wait for a place; returns what gives it up, which may be called more than once."""
        await self._places.acquire()
        leave = _once(self._places.release)
        asyncio.get_running_loop().call_later(self._seconds, leave)
        return leave


FIRST_REQUEST: Final = 15.0
"""Seconds for the first request of a stream to come."""

MAX_SILENT_OF_PEER: Final = 1_000
"""Streams from one address without a request so far."""

LARGE: Final = 100_000
"""Bytes of a request from which on another thread reads it; the first one of an Envoy has 60 kB."""

T = TypeVar("T")

TOO_LATE: Final = f"no request came within {FIRST_REQUEST:g} s"


class SilentStreams:
    """Streams without a request so far, by the address that they come from."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def enter(self, peer: str) -> Callable[[], None]:
        """Take a place for a stream of a peer; returns what gives it back, once or more often."""
        address = peer.rpartition(":")[0]
        if self._counts[address] >= MAX_SILENT_OF_PEER:
            raise ProtocolError(
                "RESOURCE_EXHAUSTED",
                f"{MAX_SILENT_OF_PEER} streams from there have said nothing yet",
            )
        self._counts[address] += 1
        return _once(partial(self._left, address))

    def _left(self, address: str) -> None:
        self._counts[address] -= 1
        self._counts += Counter()


async def read(data: bytes, decode: Callable[[bytes], T]) -> T:
    """Decode a request, a large one in another thread."""
    return decode(data) if len(data) < LARGE else await asyncio.to_thread(decode, data)


_log = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Methods: TypeAlias = "dict[str, grpc.RpcMethodHandler[bytes, bytes]]"


class Connection:
    """One open stream, shared by the task that reads it and the one that writes it.

    `ending` is the status and message to end it with, once that is decided.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        report: Callable[["Connection", Event], None],
        pushes: Sequence[PushObserver],
        first_request_came: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """Prepare to serve a stream before its first request."""
        self.stream = stream
        self._first_request_came = first_request_came
        self._opened = clock()
        self.ending: tuple[grpc.StatusCode, str] | None = None
        self._report = report
        self._pushes = pushes
        self._leave: Callable[[], None] | None = None
        self._writing_since = math.inf
        self._stalled = False
        self._writer: asyncio.Task[None] | None = None
        self._clock = clock
        self._is_woken = False
        self._sleep: asyncio.Future[None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether something waits to be written."""
        return self._is_woken or self.stream.has_work

    def wake(self) -> None:
        """Have the writer look for something to send."""
        # There is one waiter: no event for any number of them is needed.
        self._is_woken = True
        if self._sleep and not self._sleep.done():
            self._sleep.set_result(None)

    def end(self, code: grpc.StatusCode, message: str = "") -> None:
        """Have the writer end the stream; the first reason counts."""
        self.ending = self.ending or (code, message)
        self.wake()

    def cut_if_stalled(self, timeout: float) -> None:
        """End the stream by force if its client has read nothing for so many seconds."""
        if self._writer and self._clock() - self._writing_since > timeout:
            self.end(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the client read nothing for {timeout:g} s"
            )
            self._writing_since = math.inf
            self._stalled = True
            self._writer.cancel()

    def cut_if_silent(self, seconds: float) -> None:
        """End the stream if no request has come on it for so many seconds."""
        if self.stream.node is None and self._clock() - self._opened > seconds:
            self.end(grpc.StatusCode.DEADLINE_EXCEEDED, TOO_LATE)

    async def read(self, context: Context) -> None:
        """Take requests as fast as they come, also while the writer waits for the client."""
        stream = self.stream
        try:
            # Read by read, as responses are written, and not by the iterator that gRPC offers too.
            while isinstance(data := await context.read(), bytes):
                request = await read(data, stream.decode)
                events = stream.apply(request, self._clock())
                self._first_request_came()
                for event in events:
                    self._report(self, event)
                if stream.has_work:
                    self.wake()
                elif stream.is_quiet:
                    self._caught_up()
            self.end(grpc.StatusCode.OK)
        except ProtocolError as error:
            self.end(grpc.StatusCode[error.code], error.message)
        except Exception:  # noqa: BLE001 - the last frame of a task; it is logged
            # No client may learn of our faults, nor wait for a stream that nobody reads.
            self._fail()

    async def write(
        self, context: Context, newest: Callable[[], Catalog], throttle: StartupThrottle
    ) -> None:
        """Pass the throttle, then send what is due whenever woken, until the end."""
        self._writer = asyncio.current_task()
        try:
            await self._until_woken()
            self._leave = await throttle.enter()
            while True:
                if not self._is_woken:
                    await self._until_woken()
                self._is_woken = False
                response = self._next(newest)
                while response:
                    self._writing_since = self._clock()
                    if (node := self.stream.node) is not None:
                        # The answer may come before the write is known to be over.
                        for pushes in self._pushes:
                            pushes.writing(self, node.id, response.event)
                    await context.write(response.encoded)
                    self._writing_since = math.inf
                    self._report(self, response.event)
                    response = self._next(newest) if self.stream.has_work else None
                if self.ending:
                    return
                if self.stream.is_quiet:
                    self._caught_up()
        except asyncio.CancelledError:
            # Ours, and not gRPC's because the client has gone: its task goes on to end the stream.
            if not self._stalled or self._writer is None or self._writer.uncancel():
                raise
        except grpc.aio.BaseError:
            # The client has gone in the middle of a write, which gRPC knows.
            raise
        except Exception:  # noqa: BLE001 - as in `read`
            self._fail()
        finally:
            # A stream that ends while it waits for its turn has no place, and was connected.
            self._give_place_up()
            self._report(self, Disconnected(self.ending[1] if self.ending else ""))

    def _fail(self) -> None:
        _log.exception("a fault of the control plane ends the stream of a client")
        self.end(grpc.StatusCode.INTERNAL, FAULT)

    async def _until_woken(self) -> None:
        while not self._is_woken:
            self._sleep = asyncio.get_running_loop().create_future()
            await self._sleep

    def _give_place_up(self) -> None:
        if self._leave:
            self._leave()
            self._leave = None

    def _caught_up(self) -> None:
        self._give_place_up()
        # Woken, there may be more that it has not looked at yet.
        if not self._is_woken:
            for pushes in self._pushes:
                pushes.settled(self)

    def _next(self, newest: Callable[[], Catalog]) -> Response | None:
        view = self.stream.view
        if self.ending or view is None:
            return None
        return self.stream.next_response(newest().view(view), self._clock())
