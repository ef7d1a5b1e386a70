"""Answer probes in a thread of their own, so that a busy event loop does not delay them.

The thread accepts every connection and looks at its first request. A plain probe is answered here,
and its connection closed; any other request, and a probe that may be malformed, goes to the event
loop. A connection without any data waits here and does not count against the limit. The event loop
must give signs of life, so that a probe still says whether the process works.
"""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

BEAT: Final = 0.5
"""Seconds between two signs of life of the event loop."""

STILL: Final = 20
"""Missing signs of life, while this thread works, from which on a probe fails."""

MAX_SILENT: Final = 1_024
"""Connections without any data; with more, the oldest is closed."""

_LONGEST: Final = 8_192
"""Bytes of a probe's request."""

_PEEK: Final = 0.02
"""Seconds until a connection with too few bytes to recognise is looked at again."""

_PLAIN: Final = re.compile(
    rb"(?P<method>GET|HEAD) /(?P<what>livez|readyz) HTTP/1\.(?P<minor>[01])\r\n"
    rb"(?P<headers>([!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*)\r\n"
)
"""A probe without a body, and with nothing behind it."""

_STARTS: Final = tuple(
    f"{method} {path} HTTP/1.".encode()
    for method in ("GET", "HEAD")
    for path in ("/livez", "/readyz")
)

_RULED_OUT: Final = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
"""Headers that may mean more than a probe."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """What a probe asks; `length`: the bytes of its request."""

    is_head: bool
    asks_live: bool
    length: int

    @classmethod
    def of(cls, request: bytes) -> "_Probe | None":
        """Read a request; None if the parser of the API has to judge it."""
        if (found := _PLAIN.fullmatch(request)) is None:
            return None
        names = [line.partition(b":")[0].lower() for line in found["headers"].splitlines()]
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and found["minor"] == b"1") or not _RULED_OUT.isdisjoint(names):
            return None
        return cls(found["method"] == b"HEAD", found["what"] == b"livez", len(request))


class ProbeThread:
    """Accepts connections in a thread; `start` it, and `stop` it."""

    def __init__(
        self,
        listening: Sequence[socket.socket],
        hand_over: Callable[[socket.socket], None],
        ready: Callable[[], bool],
        idle: float,
    ) -> None:
        """Prepare to accept on bound sockets, which the thread closes.

        Args:
            hand_over: Takes a connection that is no probe; called in the event loop.
            ready: Whether Envoys are served; called in the thread, so it must only read.
            idle: Seconds for the start of a request to arrive.
        """
        self._listening, self._hand_over = listening, hand_over
        self._ready, self._idle = ready, idle
        self._main = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._missing = 0
        self._silent: dict[asyncio.Task[None], None] = {}
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        for each in self._listening:
            each.listen(1_024)
            each.settimeout(0)
        self._thread.start()

    async def stop(self) -> None:
        """Accept no more connections, and close those without data."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        tasks = [self._loop.create_task(self._accept(each)) for each in self._listening]
        tasks.append(self._loop.create_task(self._beat()))
        try:
            self._loop.run_forever()
        finally:
            tasks += self._silent
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()
            for each in self._listening:
                each.close()

    async def _beat(self) -> None:
        # Counted rather than timed, so that a stop of the whole process is no failure.
        while True:
            self._missing += 1
            with suppress(RuntimeError):
                self._main.call_soon_threadsafe(self._live)
            await asyncio.sleep(BEAT)

    def _live(self) -> None:
        self._missing = 0

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(listening)
            except OSError:
                # No file descriptor is left, or the client has gone.
                await asyncio.sleep(0.1)
                continue
            connection.settimeout(0)
            while len(self._silent) >= MAX_SILENT:
                oldest = next(iter(self._silent))
                del self._silent[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._meet(connection))
            self._silent[task] = None
            task.add_done_callback(lambda done: self._silent.pop(done, None))

    async def _meet(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._idle):
                probe = await self._wanted(connection)
                if probe is None:
                    self._main.call_soon_threadsafe(self._hand_over, connection)
                    return
                await self._answer(connection, probe)
        except (TimeoutError, OSError, RuntimeError):
            # No data came, the client has left, or the event loop has ended.
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    async def _wanted(self, connection: socket.socket) -> _Probe | None:
        """Return the probe; None for any other request. Nothing is read from the connection."""
        while True:
            await self._readable(connection)
            request = connection.recv(_LONGEST, socket.MSG_PEEK)
            if not request:
                raise ConnectionResetError
            if not any(request.startswith(each[: len(request)]) for each in _STARTS):
                return None
            if b"\r\n\r\n" in request or len(request) == _LONGEST:
                return _Probe.of(request)
            await asyncio.sleep(_PEEK)

    async def _readable(self, connection: socket.socket) -> None:
        woken = asyncio.Event()
        self._loop.add_reader(connection, woken.set)
        try:
            await woken.wait()
        finally:
            self._loop.remove_reader(connection)

    async def _answer(self, connection: socket.socket, probe: _Probe) -> None:
        connection.recv(probe.length)
        if probe.asks_live:
            key, good = "live", self._missing < STILL
        else:
            key, good = "ready", self._ready()
        body = json.dumps({key: good}).encode() + b"\n"
        status = b"200 OK" if good else b"503 Service Unavailable"
        head = (
            b"HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"Cache-Control: no-store\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        ) % (status, len(body))
        await self._loop.sock_sendall(connection, head + (b"" if probe.is_head else body))
        connection.shutdown(socket.SHUT_WR)
        connection.close()
