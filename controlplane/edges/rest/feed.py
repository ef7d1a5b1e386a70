"""A bounded ring of events that any number of readers follow, each at its own pace.

Nobody waits for a reader: it reads when it can, and one that comes too late is told that it missed
something.
"""

import asyncio
import json
import secrets
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

KEPT: Final = 4_096
"""Events; of a changed replica each has about 300 bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        number: From 1 on, without gaps.
        kind: ``pool``, ``replica``, ``parting`` or ``node``.
        data: One line of JSON.
    """

    number: int
    kind: str
    data: str


class Feed:
    """The newest events."""

    def __init__(self, kept: int = KEPT) -> None:
        """Begin without events.

        Args:
            kept: How many to keep.
        """
        # Numbers begin anew with every start; the word before them says which start it was.
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
        """Let every reader come to its end."""
        self.is_closed = True
        self._wake()

    def after(self, number: int) -> tuple[Event, ...] | None:
        """The events after a number.

        Returns:
            None when some of them are not kept any more, or the number was never given out.
        """
        behind = self.newest - number
        if not 0 <= behind <= len(self._events):
            return None
        return tuple(islice(self._events, len(self._events) - behind, None))

    async def more(self, number: int) -> None:
        """Wait until there are events after a number, or the feed is closed."""
        while self.newest <= number and not self.is_closed:
            await self._more.wait()

    def id(self, number: int) -> str:
        """What a reader sends as ``Last-Event-ID`` to go on after a number."""
        return f"{self._start}-{number}"

    def number(self, id_: str) -> int | None:
        """The number in an id; None for the id of another start, or of nothing."""
        start, _, number = id_.partition("-")
        known = start == self._start and number.isascii() and number.isdigit() and len(number) < 19
        return int(number) if known else None

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()
