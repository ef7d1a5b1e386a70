"""A server that says what it is told to, byte for byte, and who asks it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from controlplane.config import Address
from controlplane.scraping.scrape import Getter
from tests.processes import DEADLINE

MOST = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers each request with what comes next, on however many connections.

    Attributes:
        requests: That came, as they were.
        connections: That were opened.
        ended: Those that the other side has closed.
    """

    says: list[bytes | Say]
    address: Address = Address("127.0.0.1", 0)  # noqa: RUF009 - it cannot be changed
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    ended: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
                say = self.says.pop(0)
                if isinstance(say, bytes):
                    writer.write(say)
                else:
                    await say(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended += 1
        finally:
            writer.close()


@asynccontextmanager
async def saying(*says: bytes | Say) -> AsyncIterator[Server]:
    here = Server([*says])
    server = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    async with server, asyncio.timeout(DEADLINE):
        yield here


def ok(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers))
    return head.encode() + b"\r\n\r\n" + body


def in_pieces(*pieces: bytes, ends: bool = False) -> Say:
    async def say(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        if ends:
            writer.close()

    return say


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def bodies(getter: Getter, server: Server, count: int) -> Sequence[bytes]:
    return [(await getter.get(server.address, "/metrics", DEADLINE)).body for _ in range(count)]
