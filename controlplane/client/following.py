"""Follows the events of a control plane over cuts and restarts."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from controlplane.client.connection import Connection
from controlplane.client.endpoints import FOLLOW_EVENTS, LAST_EVENT_ID, Call
from controlplane.client.errors import ClientError, UnavailableError, UnreachableError
from controlplane.client.events import Event, Reader

_FIRST: Final = 0.25
"""Seconds to wait after a cut; twice as long after each further one, while nothing comes."""
_LONGEST: Final = 10.0


async def followed(
    connection: Connection, after: str | None, on_cut: Callable[[ClientError], None] | None
) -> AsyncGenerator[Event, None]:
    """Yield events without an end; the arguments and errors are those of `Client.events`."""
    last, wait, is_first = after, _FIRST, True
    while True:
        try:
            call = Call(FOLLOW_EVENTS, headers={LAST_EVENT_ID: last})
            async with connection.stream(call) as pieces:
                is_first, reader = False, Reader()
                async for piece in pieces:
                    for event in reader.feed(piece):
                        last, wait = event.id or last, _FIRST
                        yield event
            cut: ClientError = UnreachableError(
                f"the control plane at {connection.url} has hung up"
            )
        except (UnreachableError, UnavailableError) as error:
            if is_first:
                raise
            cut = error
        if on_cut is not None:
            on_cut(cut)
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST)
