"""``GET /v1/events``: the feed as server-sent events, each reader in a task of its own.

A reader is first told the present state, unless it says after which event it goes on. One that
comes too late for that, or cannot keep up, is told so and gets the present state again.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import web

from controlplane.edges.rest.feed import Feed
from controlplane.edges.rest.problems import Problem

MAX_READERS: Final = 64

_BATCH: Final = 64
"""Events written at once; more only make the pieces larger that a slow reader is waited for."""


class EventStream:
    """Serves a feed to a bounded number of readers."""

    def __init__(
        self,
        feed: Feed,
        state: Callable[[], Awaitable[str]],
        *,
        may_stay: Callable[[web.Request], bool] = lambda _request: True,
        heartbeat: float = 15.0,
        stalled: float = 10.0,
    ) -> None:
        """Prepare to serve.

        Args:
            feed: The events.
            state: What a reader has to know before the first of them, as JSON.
            may_stay: Whether a reader may go on; asked before it is told of an event.
            heartbeat: Seconds without an event after which a comment shows that both ends live.
            stalled: Seconds for a reader to take what was written to it; a slower one is cut.
        """
        self._feed, self._state = feed, state
        self._heartbeat, self._stalled, self._may_stay = heartbeat, stalled, may_stay
        self.readers = 0
        # The present state is the same for all who ask while it is described.
        self._describing = asyncio.Lock()
        self._descriptions = 0
        self._described = (0, b"")

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Write events until the client leaves, does not read or may not, or the feed is closed."""
        if self.readers >= MAX_READERS:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_READERS} clients follow the events already; try again later",
                headers={"Retry-After": "30"},
            )
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        # A proxy in between must not keep events until it has a full page of them.
        response.headers["X-Accel-Buffering"] = "no"
        self.readers += 1
        try:
            await response.prepare(request)
            await self._follow(request, response)
            await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # It has left.
        finally:
            self.readers -= 1
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse) -> None:
        last = request.headers.get("Last-Event-ID")
        known = None if last is None else self._feed.number(last)
        if known is not None:
            at = known
        else:
            at = await (self._present(response) if last is None else self._missed(response))
        while not self._feed.is_closed and self._may_stay(request):
            events = self._feed.after(at)
            if events is None:
                at = await self._missed(response)
                continue
            for start in range(0, len(events), _BATCH):
                batch = events[start : start + _BATCH]
                written = (_event(self._feed.id(it.number), it.kind, it.data) for it in batch)
                await self._write(response, "".join(written).encode())
            at += len(events)
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._feed.more(at)
            except TimeoutError:
                await self._write(response, b": nothing new\n\n")

    async def _missed(self, response: web.StreamResponse) -> int:
        """Tell a reader that it has missed events, and what is the case now."""
        words = {"detail": "events were missed; the present state follows"}
        await self._write(response, f"event: missed\ndata: {json.dumps(words)}\n\n".encode())
        return await self._present(response)

    async def _present(self, response: web.StreamResponse) -> int:
        begun = self._descriptions
        async with self._describing:
            # One that began before this reader came may lack what this reader knows.
            if self._descriptions == begun:
                self._descriptions += 1
                at = self._feed.newest
                event = _event(self._feed.id(at), "state", await self._state())
                self._described = at, event.encode()
            at, data = self._described
        await self._write(response, data)
        return at

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._stalled):
            await response.write(data)


def _event(id_: str, kind: str, data: str) -> str:
    return f"id: {id_}\nevent: {kind}\ndata: {data}\n\n"
