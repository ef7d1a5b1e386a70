"""A process with many replicas that answer with their metrics, and count when they are asked.

Run as ``python -m benchmarks.scrape.replicas``.
"""

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, Final

import click

from benchmarks.scrape.pages import SERVERS, Page
from benchmarks.xds.orders import Order, obey, say

SLOWEST, FASTEST = 5.0, 20.0
"""Requests per second of a replica."""

_HEALTHY: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_TYPE: Final = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Replica:
    """One of them."""

    def __init__(self, server: str, seed: int) -> None:
        rate = Random(seed).uniform(SLOWEST, FASTEST)
        self._page = Page(server, seed, rate)
        self._asked_at: float | None = None
        self.gaps = array("d")
        self.scrapes = 0
        self.sent = 0

    def metrics(self) -> bytes:
        """The answer to a scrape."""
        now = time.monotonic()
        gap = 1.0 if self._asked_at is None else now - self._asked_at
        if self._asked_at is not None:
            self.gaps.append(gap)
        self._asked_at = now
        body = self._page.after(gap)
        self.scrapes += 1
        self.sent += len(body)
        return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%b" % (_TYPE, len(body), body)

    def forget(self) -> None:
        """Begin to count anew."""
        self.gaps, self.scrapes, self.sent = array("d"), 0, 0


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as a scraper uses it: requests without a body, one after the other.

    It is as little as will do, because it shares the machine with what is measured.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        *requests, self._received = (self._received + data).split(b"\r\n\r\n")
        for request in requests:
            asked = request.startswith(b"GET /metrics ")
            self._transport.write(self._replica.metrics() if asked else _HEALTHY)


class Replicas:
    """Carries out orders."""

    def __init__(self, kinds: list[str], first: int) -> None:
        self._replicas = [Replica(kind, first + index) for index, kind in enumerate(kinds)]

    async def listen(self) -> list[int]:
        """One port for each."""
        loop = asyncio.get_running_loop()
        ports = []
        for replica in self._replicas:
            listener = await loop.create_server(
                lambda replica=replica: Connection(replica),  # type: ignore[misc]
                "127.0.0.1",
                0,
            )
            ports.append(listener.sockets[0].getsockname()[1])
        return ports

    async def carry_out(self, order: Order) -> Mapping[str, Any]:
        """One order."""
        match order["do"]:
            case "forget":
                for replica in self._replicas:
                    replica.forget()
                return {}
            case "report":
                return {
                    "scrapes": sum(replica.scrapes for replica in self._replicas),
                    "bytes": sum(replica.sent for replica in self._replicas),
                    "gaps": counted(gap for replica in self._replicas for gap in replica.gaps),
                }
            case other:
                raise ValueError(f"{other!r} is no order")


def counted(gaps: Iterable[float]) -> list[tuple[int, int]]:
    """How often each time between two scrapes of a replica was seen, in milliseconds."""
    return sorted(Counter(round(1000 * gap) for gap in gaps).items())


@click.command
@click.argument("kinds", nargs=-1, type=click.Choice(list(SERVERS)))
@click.option("--first", default=0, help="Seed of the first.")
def main(kinds: tuple[str, ...], first: int) -> None:
    """Serve a replica of each of these kinds until the input ends."""
    asyncio.run(_main(list(kinds), first))


async def _main(kinds: list[str], first: int) -> None:
    replicas = Replicas(kinds, first)
    say({"ports": await replicas.listen()})
    await obey(replicas.carry_out)


if __name__ == "__main__":
    main()
