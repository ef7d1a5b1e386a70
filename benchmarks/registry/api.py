"""A client of the REST API that takes little of the machine: requests one after the other."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

Request = tuple[str, str, object]
"""Method, path, and the body as data; None: without one."""

PATIENCE: Final = 60.0
"""Seconds that an answer may take."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One that is kept alive."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: Request) -> float:
        """Have a request answered.

        Returns:
            Milliseconds from the first byte sent until the answer was there.

        Raises:
            RuntimeError: When there is none, or it is not a 2xx.
        """
        method, path, body = request
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
        kind = "content-type: application/json\r\n" if content else ""
        begun = time.monotonic()
        self.writer.write(f"{head}{kind}\r\n".encode() + content)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
                length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                text = await self.reader.readexactly(int(length or 0))
        except asyncio.IncompleteReadError:
            raise RuntimeError(f"{method} {path}: the connection was closed") from None
        took = 1000 * (time.monotonic() - begun)
        if not answer.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer.decode()}{text.decode()}")
        return took


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """So many open connections."""
    opened = [Connection(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.writer.close()


async def all_asked(
    open_ones: Iterable[Connection], requests: Iterable[Request], rate: float | None = None
) -> list[float]:
    """Have all requests answered, each connection the next one as soon as it is free.

    Args:
        open_ones: Connections.
        requests: In order.
        rate: Requests per second that are begun at most; None: as fast as they are answered.

    Returns:
        Milliseconds that each took; with a rate from when it should have begun.
    """
    waiting, took, begun = iter(enumerate(requests)), list[float](), time.monotonic()

    async def work(connection: Connection) -> None:
        for number, request in waiting:
            due = begun + number / rate if rate else time.monotonic()
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            await connection.ask(request)
            took.append(1000 * (time.monotonic() - due))

    async with asyncio.TaskGroup() as group:
        for connection in open_ones:
            group.create_task(work(connection))
    return took
