"""One replica as a process: it computes for some time, and answers well or as it is told to.

Run as ``python -m benchmarks.failover.replica``. ``POST /mode/MODE`` says how it answers from now
on, ``GET /state`` how many requests have reached it since. SIGTERM ends it as uvicorn ends: nobody
is accepted any more, idle connections are closed, and what has begun is answered.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import struct
from typing import Final

import click

from benchmarks.balance.wire import PATH, SERVED_BY, STATE, head, response
from benchmarks.failover.scenarios import POISON
from benchmarks.worlds.slots import Slots
from benchmarks.worlds.traffic import BYTES_OF_REQUEST, BYTES_OF_TEXT, BYTES_PER_TOKEN

_END: Final = b"\r\n\r\n"
_LIMIT: Final = 1 << 20
_VECTOR: Final = b"0" * 2_000
"""An answer's body."""
_RESET: Final = struct.pack("ii", 1, 0)
"""A socket that lingers for no time sends a reset when it is closed."""

_STATUSES: Final = {
    "status-429": "429 Too Many Requests",
    "status-500": "500 Internal Server Error",
    "status-503": "503 Service Unavailable",
}


class Replica:
    """What answers."""

    def __init__(self, number: int, slots: int, token_seconds: float) -> None:
        """Prepare a replica that is idle and well."""
        self._loop = asyncio.get_running_loop()
        self._server = Slots(slots, token_seconds, self._loop.call_at)
        self._headers = {SERVED_BY: str(number)}
        self._mode = "well"
        self._reached = 0
        self._idle: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.Task[None]] = set()
        self._ends = False

    async def run(self, port: int) -> None:
        """Serve until SIGTERM."""
        ends = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGTERM, ends.set)
        server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=_LIMIT)
        gc.freeze()
        await ends.wait()
        self._ends = True
        server.close()
        for writer in self._idle:
            writer.close()
        if self._open:
            await asyncio.wait(self._open)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._open.add(this)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open.discard(this)
            self._idle.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_reused = False
        while not self._ends:
            self._idle.add(writer)
            start, headers = head(await reader.readuntil(_END))
            self._idle.discard(writer)
            path = start.split(" ")[1]
            if path == PATH and self._mode == "resets" and is_reused:
                _reset(writer)
                return
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if path == PATH:
                is_whole = await self._embed(body, writer)
                if not is_whole:
                    return
                is_reused = True
            elif path.startswith("/mode/"):
                self._mode, self._reached = path.removeprefix("/mode/"), 0
                self._answer(writer, "200 OK")
            elif path == STATE:
                self._answer(writer, "200 OK", json.dumps({"reached": self._reached}).encode())
            elif path == "/metrics":
                self._answer(writer, "200 OK", self._server.exposition(self._loop.time()).encode())
            else:
                self._answer(writer, "200 OK" if path == "/health" else "404 Not Found")
            await writer.drain()

    async def _embed(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; returns whether the connection can be used again."""
        self._reached += 1
        tokens = (len(body) - BYTES_OF_REQUEST - BYTES_OF_TEXT) // BYTES_PER_TOKEN
        if tokens == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        status = _STATUSES.get(self._mode)
        if self._mode == "half-500" and self._reached % 2:
            status = _STATUSES["status-500"]
        if status is not None:
            more = {"retry-after": "1"} if self._mode == "status-429" else {}
            self._answer(writer, status, b"{}", more)
            return True
        done: asyncio.Future[float] = self._loop.create_future()
        self._server.admit(self._loop.time(), [tokens], done.set_result)
        await done
        if self._mode == "cuts":
            writer.write(response("200 OK", self._headers, _VECTOR)[: -len(_VECTOR) // 2])
            await writer.drain()
            return False
        self._answer(writer, "200 OK", _VECTOR)
        return True

    def _answer(
        self,
        writer: asyncio.StreamWriter,
        status: str,
        body: bytes = b"",
        more: dict[str, str] | None = None,
    ) -> None:
        last = {"connection": "close"} if self._ends else {}
        writer.write(response(status, {**self._headers, **(more or {}), **last}, body))


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@click.command
@click.option("--port", required=True, type=int)
@click.option("--number", required=True, type=int, help="As answers name it.")
@click.option("--slots", required=True, type=int)
@click.option("--token-seconds", required=True, type=float)
def main(port: int, number: int, slots: int, token_seconds: float) -> None:
    """Serve until terminated."""

    async def serve() -> None:
        await Replica(number, slots, token_seconds).run(port)

    asyncio.run(serve())


if __name__ == "__main__":
    main()
