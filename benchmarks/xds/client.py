"""A process with many streams that accept whatever they are sent.

Run as ``python -m benchmarks.xds.client``.
"""

import asyncio
import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.xds.fleet import pool_name
from benchmarks.xds.orders import Order, obey, say
from benchmarks.xds.requests import answer, first_requests, node_id
from controlplane.xds import AGGREGATED

METHOD: Final = f"/{AGGREGATED.name}/DeltaAggregatedResources"

AT_ONCE: Final = 50
"""Streams that begin at a time."""

_OPTIONS: Final = (
    # Channels to the same address share a connection otherwise.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
)


class Stream:
    """One stream; it accepts all responses until it is cancelled.

    Attributes:
        channel: That it is on.
        is_lost: Whether it was ended by the server.
    """

    def __init__(self, channel: grpc.aio.Channel, requests: list[bytes], expected: int) -> None:
        """Begin.

        Args:
            channel: To the server.
            requests: To begin with.
            expected: Resources after which the stream has all that it asked for.
        """
        self.channel = channel
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
        self._requests = requests
        self._missing = expected
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self.is_lost = False

    async def ready(self) -> None:
        """Wait until it has all that it asked for."""
        await self._ready.wait()

    async def cancel(self) -> None:
        """Leave."""
        self._call.cancel()
        # A write that waits for the connection's headers does not notice by itself.
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            for request in self._requests:
                await self._call.write(request)
            while isinstance(data := await self._call.read(), bytes):
                answered = answer(data)
                await self._call.write(answered.acknowledgement)
                self._missing -= answered.resources
                if self._missing <= 0:
                    self._ready.set()
        except grpc.RpcError:
            pass
        finally:
            self.is_lost = not self._call.cancelled()
            self._ready.set()


class Group:
    """Streams to one server."""

    def __init__(self, order: Order) -> None:
        self._address: str = order["address"]
        self._pools: int = order["pools"]
        self._all_pools: bool = order["all_pools"]
        self._type_urls: list[str] = order["type_urls"]
        self._streams_of_channel: int = order["streams_of_channel"]
        self._tls = Path(order["tls"]) if order["tls"] else None
        self._channels: list[grpc.aio.Channel] = []
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.streams: list[Stream] = []

    async def open(self, numbers: list[int]) -> None:
        """Open streams with these numbers and wait until each has what it asked for."""
        await asyncio.gather(*map(self._open, numbers))

    async def replace(self, numbers: list[int]) -> None:
        """Have the oldest streams leave, and others begin in their place."""
        leaving, self.streams = self.streams[: len(numbers)], self.streams[len(numbers) :]
        await asyncio.gather(*(stream.cancel() for stream in leaving))
        coming = [
            self._begin(stream.channel, number)
            for stream, number in zip(leaving, numbers, strict=True)
        ]
        self.streams += coming
        await asyncio.gather(*(stream.ready() for stream in coming))

    async def close(self) -> None:
        """Have all streams leave."""
        await asyncio.gather(*(stream.cancel() for stream in self.streams))
        await asyncio.gather(*(channel.close() for channel in self._channels))
        self.streams, self._channels = [], []

    async def cycle(self, number: int) -> None:
        """Connect and leave: at once, after the first request, or with all that was asked for."""
        async with self._turn, self._channel(number) as channel:
            stream = self._begin(channel, number)
            if number % 3:
                await channel.channel_ready()
            if number % 3 == 2:
                await stream.ready()
            await stream.cancel()

    async def _open(self, number: int) -> None:
        async with self._turn:
            if len(self.streams) == len(self._channels) * self._streams_of_channel:
                self._channels.append(self._channel(number))
            stream = self._begin(self._channels[-1], number)
            self.streams.append(stream)
            await stream.ready()

    def _begin(self, channel: grpc.aio.Channel, number: int) -> Stream:
        every = [pool_name(index) for index in range(self._pools)]
        pools = every if self._all_pools else [pool_name(number % self._pools)]
        shown = None if self._all_pools else pools
        requests = first_requests(node_id(number), self._type_urls, pools, shown=shown)
        return Stream(channel, requests, len(self._type_urls) * len(pools))

    def _channel(self, number: int) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        files = ("ca.pem", f"{node_id(number)}-key.pem", f"{node_id(number)}.pem")
        roots, key, certificate = ((self._tls / name).read_bytes() for name in files)
        credentials = grpc.ssl_channel_credentials(roots, key, certificate)
        return grpc.aio.secure_channel(self._address, credentials, options=_OPTIONS)


class Client:
    """Carries out orders."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    async def carry_out(self, order: Order) -> Mapping[str, Any]:
        """One order; the answer to each says how many streams the server has ended."""
        address: str = order["address"]
        match order["do"]:
            case "open":
                group = self._groups.setdefault(address, Group(order))
                await group.open(order["numbers"])
            case "replace":
                await self._groups[address].replace(order["numbers"])
            case "cycle":
                await asyncio.gather(*map(Group(order).cycle, order["numbers"]))
            case "close":
                await self._groups.pop(address).close()
            case other:
                raise ValueError(f"{other!r} is no order")
        # A closed channel keeps its connection open until the last of its calls is collected.
        gc.collect()
        return {
            "lost": sum(s.is_lost for group in self._groups.values() for s in group.streams),
            "cpu": time.process_time(),
        }


async def _main() -> None:
    say({})
    await obey(Client().carry_out)


if __name__ == "__main__":
    asyncio.run(_main())
