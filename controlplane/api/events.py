"""``GET /v1/events``: what was declared and what weighing has changed, as a bounded ring of events.

A reader that comes too late or cannot keep up is sent `missed` and the present state again.
The log has a line for what an operator acts on: a replica that is gone, cut or cannot be scraped.
"""

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, NamedTuple

from aiohttp import web

from controlplane.api.answers import Problem, etag
from controlplane.api.views import in_short, parting_view
from controlplane.balancing.explain import CUT
from controlplane.fleet import Change
from controlplane.plane import Plane, ReplicaReport, State
from controlplane.plane.state import ReplicaSummary
from controlplane.resources.classes import Parting
from controlplane.xds import events as xds

MOST_EVENTS: Final = 4_096
"""Events; one about a replica takes about 300 bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change: numbered from 1 on without gaps, with its kind and one line of JSON."""

    number: int
    kind: str
    data: str


class Feed:
    """The newest events."""

    def __init__(self) -> None:
        # Numbers begin anew with every start; the prefix says which start.
        self._start = secrets.token_hex(4)
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
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
    """The last refusal of a client, by its certificate's node or address, at monotonic seconds."""

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


_log = logging.getLogger(__name__)


class Watch:
    """Remembers the plane's replicas and classes as they were last published."""

    def __init__(self, plane: Plane, feed: Feed) -> None:
        """Start from the present plane; only later changes are published."""
        self._plane, self._feed = plane, feed
        self._dirty = plane.follow()
        pools = plane.fleet.pools
        self._states = {
            (name, id_): state for name in pools for id_, state in plane.summaries(name)
        }
        self._partings = {name: _routed(plane.parting(name)) for name in pools}

    def changed(self, changes: Iterable[Change], now: float) -> None:
        """Publish changes of the fleet that the plane has just taken; `now`: its clock."""
        for change in changes:
            if change.is_declared:
                self._declared(change, now)

    def looking(self, now: float) -> Iterator[None]:
        """Publish what weighing has changed since the last look; yield after each replica."""
        for name, ids in self._dirty.taken().items():
            # Weights alone change all the time, and make no event.
            if name not in self._plane.fleet.pools:
                continue
            for id_, state in self._plane.summaries(name, None if ids is None else sorted(ids)):
                if (before := self._states.get((name, id_))) != state:
                    for report in self._plane.reports(name, (id_,), now):
                        self._states[name, id_] = state
                        if before is not None:
                            _log_replica(name, report, before)
                        self._replica("changed", name, id_, report)
                yield
            if name in self._plane.fleet.pools:
                self._parting(name)

    def _declared(self, change: Change, now: float) -> None:
        name, id_ = change.pool, change.replica
        if id_ is None:
            if change.after is None:
                self._partings.pop(name, None)
                for key in [key for key in self._states if key[0] == name]:
                    del self._states[key]
            tag = None if change.after is None else etag(change.after)
            self._feed.publish("pool", {"pool": name, "change": change.kind, "etag": tag})
        elif change.after is None:
            self._states.pop((name, id_), None)
            self._replica(change.kind, name, id_, None)
        elif (pool := self._plane.fleet.pools.get(name)) is not None and id_ in pool.replicas:
            # Otherwise a later change, published next, has removed it.
            report = self._plane.report(name, id_, now)
            self._states[name, id_] = report.summary
            self._replica(change.kind, name, id_, report)

    def _parting(self, name: str) -> None:
        known, parting = self._partings.get(name), _routed(self._plane.parting(name))
        if _is_same(parting, known):
            return
        self._partings[name] = parting
        view = parting_view(self._plane.fleet.pool(name), self._plane.decision(name), parting)
        change = "ended" if parting is None else "begun" if known is None else "changed"
        # Of a large pool the ids alone would be most of what is kept of all events.
        classes = {each["name"]: len(each["replicas"]) for each in view["parting"] or ()}
        data = {"pool": name, "change": change, "classes": classes}
        self._feed.publish("parting", data | {"reasons": view["parting_reasons"]})
        if change != "changed":
            how = "go by class now" if parting is not None else "do not go by class any more"
            _log.info("pool %s: requests %s: %s", name, how, " ".join(view["parting_reasons"]))

    def _replica(self, change: str, pool: str, id_: str, report: ReplicaReport | None) -> None:
        data: dict[str, Any] = {"pool": pool, "id": id_, "change": change}
        if report is not None:
            data |= in_short(report)
        self._feed.publish("replica", data)


def _log_replica(pool: str, report: ReplicaReport, before: ReplicaSummary) -> None:
    """Log what has become of a replica, if an operator has to know."""
    now, replica = report.summary, report.replica
    name = f"{pool}/{replica.id}"
    if now.state != before.state:
        if now.state is State.GONE:
            address = replica.settings.address
            _log.warning("%s is gone: nobody listens at %s, or another process", name, address)
        elif now.state is State.UNHEALTHY:
            _log.warning("%s is unhealthy: its health check fails", name)
        else:
            _log.info("%s is %s", name, "ready" if now.state is State.READY else "starting")
    if now.cut and not before.cut:
        steps = report.decision.steps if report.decision is not None else ()
        why = next((step.words for step in steps if step.words.startswith(CUT)), "it is cut")
        _log.warning("%s gets nothing: %s", name, why.removeprefix(CUT))
    elif before.cut and not now.cut:
        _log.info("%s gets requests again", name)
    if now.stale and not before.stale:
        failure = report.observed.failure or "its readings are too old"
        _log.warning("%s cannot be scraped: %s", name, failure)
    elif before.stale and not now.stale:
        _log.info("%s is scraped again", name)


def _routed(parting: Parting | None) -> Parting | None:
    """The classes that requests go by; None where no route leads to any class."""
    if parting is None or not any(each.routed for each in parting.named):
        return None
    return Parting(tuple(each for each in parting.classes if each.routed))


def _is_same(one: Parting | None, other: Parting | None) -> bool:
    """Whether the same requests go to the same replicas; weights alone change all the time."""
    if one is None or other is None or len(one.classes) != len(other.classes):
        return one is other
    return all(
        (now.name, now.match) == (then.name, then.match)
        and now.endpoint_weights.keys() == then.endpoint_weights.keys()
        for now, then in zip(one.classes, other.classes, strict=True)
    )
