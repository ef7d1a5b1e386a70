"""Replicas that fail in a way of their own: real sockets, HTTP by hand."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from tests.envoy.pools import pool
from tests.processes import Envoy, Plimsoll, free_port, serving, sidecar, until

POOL: Final = "p"
POISON: Final = "poison"

Fault = Literal[
    "none",
    "resets-reused",
    "refuses",
    "is-full",
    "errs",
    "breaks",
    "half-broken",
    "cuts",
    "is-ill",
    "takes-none",
]
"""What a replica does with requests: answer them, reset a connection that brings a second one,
answer 503, 429, 500 or 502, answer every second one with 500, end the connection in the middle of
an answer, or take no byte of their bodies; or answer them while its health check fails."""

_STATUS: Final[dict[Fault, str]] = {
    "refuses": "503 Overloaded",
    "is-full": "429 Full",
    "errs": "500 Error",
    "breaks": "502 Broken",
}


class FaultyReplica:
    """Answers health checks, and requests as its fault has it; whatever says "poison" ends it.

    Attributes:
        fault: What it does; may change at any time.
        reached: Requests that reached it.
        service: Seconds that an answer takes.
        answer: The body of an answer.
        is_dead: Whether a request or a test ended it.
    """

    def __init__(self, fault: Fault = "none", service: float = 0.01) -> None:
        self.port = free_port()
        self.fault: Fault = fault
        self.reached = 0
        self.service = service
        self.answer = b"{}"
        self.is_dead = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Serve until it dies."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 24
        )
        for listening in self._server.sockets:
            # Otherwise the kernel may take a whole request for a program that does not read.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)

    def die(self) -> None:
        """End as a killed process does: the kernel closes its sockets, and resets those in use."""
        self.is_dead = True
        if self._server is not None:
            loop = self._server.get_loop()
            for listening in self._server.sockets:
                loop.remove_reader(listening.fileno())
                listening.shutdown(socket.SHUT_RDWR)
            # A connection that was just accepted would stay open for ever if this came first.
            loop.call_soon(self._server.close)
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        served = 0
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not self.is_dead:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    await _answer(writer, "503 Ill" if self.fault == "is-ill" else "200 OK")
                    continue
                self.reached += 1
                served += 1
                if self.fault == "resets-reused" and served > 1:
                    writer.transport.abort()
                    break
                if self.fault == "takes-none":
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                body = await reader.readexactly(_length(head))
                if POISON.encode() in body:
                    self.die()
                elif self.fault in _STATUS:
                    await _answer(writer, _STATUS[self.fault])
                elif self.fault == "half-broken" and self.reached % 2:
                    await _answer(writer, _STATUS["errs"])
                else:
                    await asyncio.sleep(self.service)
                    await _answer(writer, "200 OK", self.answer, is_cut=self.fault == "cuts")
        self._open.discard(writer)
        writer.close()


def _length(head: bytes) -> int:
    lengths = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    return lengths[0] if lengths else 0


async def _answer(
    writer: asyncio.StreamWriter, status: str, body: bytes = b"{}", *, is_cut: bool = False
) -> None:
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
    writer.write(body[: len(body) // 2] if is_cut else body)
    await writer.drain()
    if is_cut:
        writer.close()


@asynccontextmanager
async def fleet(
    folder: Path, *faults: Fault, sidecars: int = 1, **more: Any
) -> AsyncIterator[tuple[Plimsoll, Sequence[Envoy], list[FaultyReplica]]]:
    """A control plane, Envoys that serve the pool, and its replicas, of which those are ill."""
    replicas = [FaultyReplica() for _ in faults]
    entry = pool(
        POOL,
        {f"r{i}": {"address": f"127.0.0.1:{replica.port}"} for i, replica in enumerate(replicas)},
        **{"metrics": {"profile": "none"}, **more},
    )
    async with AsyncExitStack() as stack:
        for one in replicas:
            await one.start()
            stack.callback(one.die)
        plane = await stack.enter_async_context(serving(folder, [entry]))
        envoys = [
            await stack.enter_async_context(
                sidecar(folder, plane.xds, [POOL], node=f"sidecar-{index}")
            )
            for index in range(sidecars)
        ]

        async def all_served() -> bool:
            healthy = [
                await envoy.healthy(f"{POOL}{end}") for envoy in envoys for end in ("", "/retries")
            ]
            return all(len(item) == len(replicas) for item in healthy) and all(
                [await envoy.post(POOL) == 200 for envoy in envoys]
            )

        await until("every Envoy has all replicas", all_served)
        for one, fault in zip(replicas, faults, strict=True):
            one.fault, one.reached = fault, 0
        yield plane, envoys, replicas
