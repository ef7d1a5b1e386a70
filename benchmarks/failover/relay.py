"""The network before one replica as a process: it carries bytes both ways.

Run as ``python -m benchmarks.failover.relay LISTEN TARGET``. While it is stopped (SIGSTOP) nothing
passes and nobody is told: what is open stays open, and after a few connections that wait to be
accepted the kernel answers no others.
"""

import asyncio
import contextlib
import sys
from typing import Final

BACKLOG: Final = 8
"""Connections that the kernel accepts while the relay does not."""

_PIECE: Final = 1 << 16


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def _main(listen: int, target: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, on = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_carry(reader, on), _carry(back, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", listen, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
