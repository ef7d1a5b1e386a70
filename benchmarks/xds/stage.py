"""What the parts of the benchmark share: servers, clients with many streams, and pushes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import DISTURBED, Watch
from benchmarks.xds.orders import Process, process
from benchmarks.xds.requests import TYPE_URLS

CLIENT: Final = (sys.executable, "-m", "benchmarks.xds.client")

STREAMS_OF_CHANNEL: Final = 50
"""On a connection, where nothing else is said; a process that opened thousands of connections
would measure the kernel."""


@dataclass(frozen=True, slots=True)
class Push:
    """One change of all weights of a pool.

    Attributes:
        build_wall: Seconds to build the catalog.
        build_cpu: Seconds of the server's CPU to build it.
        wall: Seconds from when it is offered to the last acknowledgement that the server reads.
        cpu: Seconds of the server's CPU for that.
        surplus: Acknowledgements beyond one for each stream; there should be none.
    """

    build_wall: float
    build_cpu: float
    wall: float
    cpu: float
    surplus: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Pushes one after the other.

    Attributes:
        pushes: In order.
        cores: Taken meanwhile by server, clients, this process, and all others, on average.
    """

    pushes: tuple[Push, ...]
    cores: Mapping[str, float]

    @property
    def is_disturbed(self) -> bool:
        """Whether the machine had something else to do."""
        return self.cores["others"] > DISTURBED


@dataclass(frozen=True, slots=True)
class Held:
    """What a server's process holds.

    Attributes:
        rss: Bytes of resident memory.
        descriptors: Open ones.
        tasks: Of its event loop.
    """

    rss: int
    descriptors: int
    tasks: int


class Clients:
    """Processes whose streams are dealt out in turn."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [each.pid for each in self._processes]

    async def tell(self, do: str, server: "Server", numbers: Sequence[int], **more: object) -> None:
        """Have streams with these numbers carry something out.

        Raises:
            RuntimeError: When the server has ended a stream.
        """
        count = len(self._processes)
        orders = (
            each.ask(do, address=server.address, numbers=list(numbers[index::count]), **more)
            for index, each in enumerate(self._processes)
        )
        if lost := sum(answer["lost"] for answer in await asyncio.gather(*orders)):
            raise RuntimeError(f"the server ended {lost} streams")


class Server:
    """A process with a server."""

    def __init__(self, started: Process, port: int, pools: int) -> None:
        self._process = started
        self.address = f"127.0.0.1:{port}"
        self.pools = pools

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def change(self, pool: int, answers: int) -> Push:
        """Change all weights of a pool and wait for so many acknowledgements."""
        return Push(**await self._process.ask("change", pool=pool, answers=answers))

    async def change_soon(self, pool: int) -> None:
        """Change all weights of a pool and wait for nothing."""
        await self._process.ask("change", pool=pool, answers=0)

    async def held(self) -> Held:
        """What it holds after a garbage collection."""
        return Held(**await self._process.ask("report"))


@asynccontextmanager
async def clients(count: int, command: Sequence[object] = CLIENT) -> AsyncIterator[Clients]:
    """Run so many client processes."""
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(process(*command)) for _ in range(count)]
        await asyncio.gather(*(each.answer() for each in started))
        yield Clients(started)


@asynccontextmanager
async def server(
    contender: str,
    *,
    pools: int,
    replicas: int,
    program: Path | None = None,
    tls: Path | None = None,
) -> AsyncIterator[Server]:
    """Run a server process, of ours or, with its program, in Go.

    With a folder of certificates, ours speaks mutual TLS.
    """
    module = (sys.executable, "-m", "benchmarks.xds.server")
    ours = [*module, "--contender", contender, "--pools", pools, "--replicas", replicas]
    ours += ["--tls", tls] if tls else []
    async with process(*((program, contender, pools, replicas) if program else ours)) as started:
        yield Server(started, (await started.answer())["port"], pools)


def asking(
    server: Server,
    *,
    all_pools: bool,
    type_urls: Sequence[str] = TYPE_URLS,
    streams_of_channel: int = STREAMS_OF_CHANNEL,
    tls: Path | None = None,
) -> dict[str, Any]:
    """What streams to a server ask for, as clients want to be told.

    Args:
        server: To which.
        all_pools: Whether each asks for all pools, or for one, dealt out by its number.
        type_urls: In order.
        streams_of_channel: On one connection.
        tls: Folder with a certificate for each stream; None: plain text.
    """
    return {
        "pools": server.pools,
        "all_pools": all_pools,
        "type_urls": list(type_urls),
        "streams_of_channel": streams_of_channel,
        "tls": tls and str(tls),
    }


async def measure(server: Server, clients: Clients, changes: Sequence[tuple[int, int]]) -> Measured:
    """Make changes, each a pool and how many acknowledge it, one after the other."""
    watch = Watch({"server": [server.pid], "clients": clients.pids})
    pushes = tuple([await server.change(pool, answers) for pool, answers in changes])
    return Measured(pushes, watch.cores())
