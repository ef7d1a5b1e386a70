"""What comes in on a stream: soon enough, and read where it keeps nobody else.

A client that connects and says nothing would keep its place for ever. A request of megabytes takes
seconds to read, so that is done in another thread.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from controlplane.xds.errors import ProtocolError

FIRST_REQUEST: Final = 15.0
"""Seconds for the first request of a stream to come."""

MAX_SILENT_OF_PEER: Final = 1_000
"""Streams from one address that have said nothing yet."""

LARGE: Final = 100_000
"""Bytes of a request from which on another thread reads it; the first one of an Envoy has 60 kB."""

T = TypeVar("T")

TOO_LATE: Final = f"no request came within {FIRST_REQUEST:g} s"


class Silent:
    """Streams that have said nothing yet, by the address that they come from."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts: Counter[str] = Counter()

    def enter(self, peer: str) -> Callable[[], None] | None:
        """Take a place for a stream.

        Args:
            peer: As gRPC names it, with a port.

        Returns:
            What gives the place back, which may be called more than once; None: there is none.
        """
        address = peer.rpartition(":")[0]
        if self._counts[address] >= MAX_SILENT_OF_PEER:
            return None
        self._counts[address] += 1
        held = [address]

        def leave() -> None:
            if held:
                self._counts[held.pop()] -= 1
                self._counts += Counter()

        return leave


async def soon(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The requests of a stream, the first of which comes soon.

    Raises:
        ProtocolError: It does not.
    """
    try:
        async with asyncio.timeout(FIRST_REQUEST):
            first = await anext(requests)
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise ProtocolError("DEADLINE_EXCEEDED", TOO_LATE) from None
    yield first
    async for each in requests:
        yield each


async def read(data: bytes, decode: Callable[[bytes], T]) -> T:
    """Decode a request, a large one in another thread."""
    return decode(data) if len(data) < LARGE else await asyncio.to_thread(decode, data)
