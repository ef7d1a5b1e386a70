"""Follow server-sent events over cuts and restarts: bytes in, typed changes out.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.api import schema
from controlplane.api.schema.operations import FOLLOW_EVENTS, LAST_EVENT_ID
from controlplane.client.connection import Call, Connection, read
from controlplane.client.errors import (
    ClientError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)

_FIRST: Final = 0.25
"""Seconds to wait after a cut; twice as long after each further cut without an event."""
_LONGEST: Final = 10.0


_MODELS: Final[Mapping[str, type[schema.Answer]]] = {
    "state": schema.PoolList,
    "pool": schema.PoolEvent,
    "replica": schema.ReplicaEvent,
    "parting": schema.PartingEvent,
    "node": schema.NodeEvent,
    "missed": schema.MissedEvent,
}


@dataclass(frozen=True, slots=True)
class Event:
    """What has happened.

    Attributes:
        id: For `after`, to continue after this event; None where that is not possible.
        kind: ``state``, ``pool``, ``replica``, ``parting``, ``node`` or ``missed``.
        what: For ``state`` a `PoolList`: the present state, first of all and after events were
            missed. For the others the event of that kind, a `ReplicaNow` of a replica that is
            there. Of a kind that this client does not know an `Answer`.
    """

    id: str | None
    kind: str
    document: Mapping[str, Any]
    what: schema.Answer


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
    kind = fields.get("event", "message")
    model = _MODELS.get(kind, schema.Answer)
    if kind == "replica" and "state" in document:
        model = schema.ReplicaNow
    return Event(fields.get("id"), kind, document, read(model, document))


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
                f"the control plane at {connection.url} closed the connection"
            )
        except (UnreachableError, UnavailableError) as error:
            if is_first:
                raise
            cut = error
        if on_cut is not None:
            on_cut(cut)
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST)
