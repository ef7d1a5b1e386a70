"""``GET /v1/events``: a bounded ring of events, served to each reader at its own pace.

A reader that comes too late or cannot keep up is sent `missed` and the present state again.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, NamedTuple

from aiohttp import web

from controlplane.api.answers import Problem
from controlplane.xds import events as xds

KEPT: Final = 4_096
"""Events; one about a replica takes about 300 bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change: numbered from 1 on without gaps, with its kind and one line of JSON."""

    number: int
    kind: str
    data: str


class Feed:
    """The newest events."""

    def __init__(self, kept: int = KEPT) -> None:
        # Numbers begin anew with every start; the prefix says which start.
        self._start = secrets.token_hex(4)
        self._events: deque[Event] = deque(maxlen=kept)
        self._more = asyncio.Event()
        self.newest = 0
        self.is_closed = False

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Add an event and wake the readers."""
        self.newest += 1
        self._events.append(Event(self.newest, kind, json.dumps(data, allow_nan=False)))
        self._wake()

    def close(self) -> None:
        """End every reader's stream."""
        self.is_closed = True
        self._wake()

    def after(self, number: int) -> tuple[Event, ...] | None:
        """Return the events after a number; None when some are no longer kept or it is unknown."""
        behind = self.newest - number
        if not 0 <= behind <= len(self._events):
            return None
        return tuple(islice(self._events, len(self._events) - behind, None))

    async def more(self, number: int) -> None:
        """Wait until there are events after a number, or the feed is closed."""
        while self.newest <= number and not self.is_closed:
            await self._more.wait()

    def id(self, number: int) -> str:
        """Return the ``Last-Event-ID`` with which a reader continues after a number."""
        return f"{self._start}-{number}"

    def number(self, id_: str) -> int | None:
        """Return the number in an id; None for an id of another start or an invalid one."""
        start, _, number = id_.partition("-")
        known = start == self._start and number.isascii() and number.isdigit() and len(number) < 19
        return int(number) if known else None

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()


MAX_NAMES: Final = 20
"""Rejected resources in one event; a fault of the control plane can make it all of them."""


MAX_REFUSED: Final = 1_000
"""Refused clients with their last reason."""


REFUSED_SECONDS: Final = 600.0
"""After which a refusal is no longer shown; a running Envoy tries again every few seconds."""


class Refusal(NamedTuple):
    """The last refusal of a client of xDS, at a time of the monotonic clock.

    Attributes:
        node: Of the certificate; the IP address where that names none.
    """

    node: str
    peer: str
    reason: str
    at: float


class NodeEvents:
    """Publishes what Envoys do: they connect, are refused, reject something and leave."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._rejected: dict[str, dict[str, xds.Rejected]] = {}
        self._refused: dict[str, Refusal] = {}

    def refusals(self, now: float) -> list[Refusal]:
        """The clients that the xDS server has refused lately, by node."""
        return sorted(
            refusal for refusal in self._refused.values() if now - refusal.at < REFUSED_SECONDS
        )

    def observe(self, node: str, event: xds.Event, now: float) -> None:
        """Publish what has happened on a stream of a node.

        An Envoy rejects the same resource with every new version, several times a second: the same
        rejection is published once, until the Envoy acknowledges something of the type. A refused
        Envoy tries again and again: the same reason is published once, until the Envoy connects.
        """
        match event:
            case xds.Refused(peer, reason):
                known = self._refused.pop(node, None)
                if len(self._refused) >= MAX_REFUSED:
                    del self._refused[next(iter(self._refused))]
                self._refused[node] = Refusal(node, peer, reason, now)
                if known is None or known.reason != reason:
                    self._publish(node, "refused", peer=peer, reason=reason)
            case xds.Connected(introduced):
                self._refused.pop(node, None)
                where = introduced.locality
                locality = {"region": where.region, "zone": where.zone, "sub_zone": where.sub_zone}
                self._publish(node, "connected", locality=locality)
            case xds.Disconnected(reason):
                self._rejected.pop(node, None)
                self._publish(node, "left", reason=reason)
            case xds.Acknowledged(type_url):
                self._rejected.get(node, {}).pop(type_url, None)
            case xds.Rejected(type_url, names, message):
                rejected = self._rejected.setdefault(node, {})
                if rejected.get(type_url) != event:
                    rejected[type_url] = event
                    shown = {"names": list(names[:MAX_NAMES]), "message": message}
                    self._publish(node, "rejected", type_url=type_url, **shown)

    def _publish(self, node: str, change: str, **more: object) -> None:
        self._feed.publish("node", {"id": node, "change": change, **more})


MAX_READERS: Final = 64

_BATCH: Final = 64
"""Events written at once; a larger piece only takes a slow reader longer."""


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
            state: The present state as JSON, sent to a reader before the first event.
            heartbeat: Seconds without an event until a comment shows that both ends live.
            stalled: Seconds for a reader to take a piece; a slower reader is cut.
        """
        self._feed, self._state = feed, state
        self._heartbeat, self._stalled, self._may_stay = heartbeat, stalled, may_stay
        self.readers = 0
        # Readers that come while the present state is being encoded share it.
        self._encoding = asyncio.Lock()
        self._encodings = 0
        self._encoded = (0, b"")

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Write events until the client leaves, stalls or loses its role, or the feed is closed."""
        if self.readers >= MAX_READERS:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{MAX_READERS} clients follow the events already; try again later",
                headers={"Retry-After": "30"},
            )
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        # A proxy in between must not buffer events.
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
            pass  # The client has left.
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
                written = (
                    _event(self._feed.id(event.number), event.kind, event.data) for event in batch
                )
                await self._write(response, "".join(written).encode())
            at += len(events)
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._feed.more(at)
            except TimeoutError:
                await self._write(response, b": nothing new\n\n")

    async def _missed(self, response: web.StreamResponse) -> int:
        """Send `missed` and the present state."""
        words = {"detail": "events were missed; the present state follows"}
        await self._write(response, f"event: missed\ndata: {json.dumps(words)}\n\n".encode())
        return await self._present(response)

    async def _present(self, response: web.StreamResponse) -> int:
        begun = self._encodings
        async with self._encoding:
            # An encoding that began before this reader came may be older than what it knows.
            if self._encodings == begun:
                self._encodings += 1
                at = self._feed.newest
                event = _event(self._feed.id(at), "state", await self._state())
                self._encoded = at, event.encode()
            at, data = self._encoded
        await self._write(response, data)
        return at

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._stalled):
            await response.write(data)


def _event(id_: str, kind: str, data: str) -> str:
    return f"id: {id_}\nevent: {kind}\ndata: {data}\n\n"
