"""Follow server-sent events over cuts and restarts: bytes in, typed changes out.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.api.schema.answers import Answer, MissedEvent, PartingEvent, PoolEvent
from controlplane.api.schema.operations import FOLLOW_EVENTS, LAST_EVENT_ID
from controlplane.api.schema.pools import Pool
from controlplane.api.schema.replicas import ReplicaEvent, ReplicaInShort
from controlplane.client.calls import Call
from controlplane.client.connection import Connection, read
from controlplane.client.errors import (
    ClientError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)

_FIRST: Final = 0.25
"""Seconds to wait after a cut; twice as long after each further cut without an event."""
_LONGEST: Final = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """An event; of a kind that this client does not know, this base class.

    Attributes:
        id: For `after`, to continue after this event; None where that is not possible.
        kind: ``state``, ``pool``, ``replica``, ``parting`` or ``missed``.
    """

    id: str | None
    kind: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StateShown(Event):
    """The present state: first of all, and after events were missed."""

    pools: tuple[Pool, ...]


@dataclass(frozen=True, slots=True)
class PoolChanged(Event):
    """A pool was ``added``, ``changed`` or ``removed``; a removed pool has no etag."""

    pool: str
    change: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class ReplicaChanged(Event):
    """A replica was ``added``, ``changed`` or ``removed``.

    A change of readiness, tier or draining is one, too.

    Attributes:
        now: The replica as it is now; None of a removed replica.
    """

    pool: str
    replica: str
    change: str
    now: ReplicaInShort | None


@dataclass(frozen=True, slots=True)
class PartingChanged(Event):
    """Requests of a pool begin or cease to go by class, or a class has other replicas or requests.

    Attributes:
        change: ``begun``, ``changed`` or ``ended``.
        classes: How many replicas serve each class first, by its name; empty at the end.
    """

    pool: str
    change: str
    classes: Mapping[str, int]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missed(Event):
    """Some events were missed; a `StateShown` follows."""

    detail: str


class _State(Answer):
    pools: tuple[Pool, ...]


class Reader:
    """Reads events from pieces of any size; each connection needs a new reader."""

    _LINE_END: Final = b"\n"

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[Event]:
        """Return the events that are complete with these bytes.

        Raises:
            UnexpectedAnswerError: The bytes are no events of a control plane.
        """
        self._rest += data
        while (end := self._rest.find(self._LINE_END, self._searched)) >= 0:
            line = bytes(self._rest[:end]).removesuffix(b"\r")
            del self._rest[: end + 1]
            self._searched = 0
            if line:
                self._take(line)
            elif self._fields:
                fields, self._fields = self._fields, {}
                if "data" in fields:
                    yield _event(fields)
        # A state of thousands of replicas comes in many pieces; each is searched once.
        self._searched = len(self._rest)

    def _take(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if not name:
            return  # A comment shows that both ends live.
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = f"{self._fields['data']}\n{value}"
        self._fields[name] = value


def _event(fields: Mapping[str, str]) -> Event:
    try:
        document = json.loads(fields["data"])
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UnexpectedAnswerError("an event of the control plane is no JSON object")
    id_, kind = fields.get("id"), fields.get("event", "message")
    match kind:
        case "state":
            return StateShown(id_, kind, document, read(_State, document).pools)
        case "pool":
            pool = read(PoolEvent, document)
            return PoolChanged(id_, kind, document, pool.pool, pool.change, pool.etag)
        case "replica":
            event = read(ReplicaEvent, document)
            now = read(ReplicaInShort, document) if "state" in document else None
            return ReplicaChanged(id_, kind, document, event.pool, event.id, event.change, now)
        case "parting":
            found = read(PartingEvent, document)
            return PartingChanged(
                id_, kind, document, found.pool, found.change, found.classes, found.reasons
            )
        case "missed":
            return Missed(id_, kind, document, read(MissedEvent, document).detail)
        case _:
            return Event(id_, kind, document)


async def followed(
    connection: Connection, after: str | None, on_cut: Callable[[ClientError], None] | None
) -> AsyncGenerator[Event, None]:
    """Yield events without an end; see `Client.events`."""
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
