"""A client of xDS that accepts everything, and knows when it was last told of endpoints."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import grpc

from benchmarks.xds.client import METHOD
from benchmarks.xds.requests import TYPE_URLS, answer, first_requests
from controlplane.resources.resource import ENDPOINT

_OPTIONS: Final = (("grpc.max_receive_message_length", -1),)


class Follower:
    """One stream.

    Attributes:
        bytes: Of the last response with endpoints.
    """

    def __init__(self) -> None:
        self._told_at = time.monotonic()
        self._more = asyncio.Event()
        self.bytes = 0

    async def told(self, since: float) -> float:
        """When it was first told of endpoints after a time; both in seconds."""
        while self._told_at <= since:
            self._more.clear()
            await self._more.wait()
        return self._told_at

    async def quiet(self, seconds: float) -> None:
        """Wait until nothing has come for so long."""
        with contextlib.suppress(TimeoutError):
            while True:
                await asyncio.wait_for(self.told(self._told_at), seconds)

    async def run(self, channel: grpc.aio.Channel, pools: Sequence[str]) -> None:
        """Accept responses until cancelled."""
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
        for request in first_requests("follower", TYPE_URLS, pools, shown=None):
            await call.write(request)
        while isinstance(data := await call.read(), bytes):
            if ENDPOINT.encode() in data[-200:] or ENDPOINT.encode() in data[:400]:
                self._told_at, self.bytes = time.monotonic(), len(data)
                self._more.set()
            await call.write(answer(data).acknowledgement)


@asynccontextmanager
async def following(port: int, pools: Sequence[str]) -> AsyncIterator[Follower]:
    """A client that asks for these pools, and all of their resources."""
    follower = Follower()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as channel:
        task = asyncio.create_task(follower.run(channel, pools))
        try:
            yield follower
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
