"""Who declared what: each change as an entry that can be kept and shown, and the newest of them.

What is on disk may be behind for a moment, and after a commit that was overtaken also ahead. So the
log knows up to which entry the two agree, and what must be written so that they do again.
"""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final

from controlplane.fleet.change import Change, declared

MOST_ENTRIES: Final = 5_000
"""Entries; older ones are in the text log only."""

CONTROL_PLANE: Final = "control plane"
CONFIG_FILE: Final = "config file"
DISCOVERY: Final = "discovery"
"""Who makes changes that no API request asked for."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change, numbered without gaps, at seconds since 1970; text keeps no fleet alive."""

    number: int
    at: float
    text: str

    def data(self) -> dict[str, Any]:
        """As the API and the text log show it."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        found: dict[str, Any] = json.loads(self.text)
        return {"number": self.number, "at": at, **found}


@dataclass(frozen=True, slots=True)
class UnwrittenEntries:
    """What must be written so that the log on disk is complete.

    On disk, numbers above `after` give way to `entries`, the oldest first; `most` stay in all.
    """

    after: int
    entries: Sequence[AuditEntry]
    most: int


class AuditLog:
    """The newest entries, and which of them are on disk."""

    def __init__(self, entries: Iterable[AuditEntry] = (), most: int = MOST_ENTRIES) -> None:
        """Begin with these, the oldest first, all of them on disk."""
        self._entries: deque[AuditEntry] = deque(entries, maxlen=most)
        self._most = most
        self._agreed = self.newest

    @property
    def newest(self) -> int:
        """The number of the newest entry; 0 where there is none."""
        return self._entries[-1].number if self._entries else 0

    @property
    def is_written(self) -> bool:
        """Whether all of it is on disk."""
        return self._agreed == self.newest

    def drafted(self, made: Iterable[tuple[str, Change]], at: float) -> list[AuditEntry]:
        """Make the next entries of changes, each with who made it, at seconds since 1970.

        A change that leaves the declaration as it was is left out: only who declares it differs.
        """
        seen = [(who, what) for who, what in made if what.is_declared]
        return [
            AuditEntry(number, at, _text(who, what))
            for number, (who, what) in enumerate(seen, self.newest + 1)
        ]

    def add(self, entries: Iterable[AuditEntry]) -> None:
        """Take in drafts; nothing was added since they were made."""
        self._entries.extend(entries)

    def unwritten(self, drafts: Sequence[AuditEntry] = ()) -> UnwrittenEntries:
        """List what must be written now, and drafts, which are added once they are on disk."""
        mine = list(takewhile(lambda entry: entry.number > self._agreed, reversed(self._entries)))[
            ::-1
        ]
        return UnwrittenEntries(self._agreed, [*mine, *drafts][-self._most :], self._most)

    def lost(self) -> None:
        """Take note that nothing of it is on disk any more."""
        self._agreed = 0

    def note_written(self, written: UnwrittenEntries) -> None:
        """Take note of what is on disk; where the log has become another one, it is not."""
        mine = {unwritten.number: unwritten for unwritten in self.unwritten().entries}
        for entry in written.entries:
            if mine.get(entry.number) != entry:
                return
            self._agreed = entry.number

    def page(self, limit: int, before: int | None) -> tuple[list[AuditEntry], int | None]:
        """Return the newest entries with numbers below `before`, the newest first.

        The second value is the number to ask with for older ones; None where there are none.
        """
        known = [entry for entry in self._entries if before is None or entry.number < before]
        page = known[-limit:][::-1]
        return page, page[-1].number if len(known) > limit else None


def _text(who: str, what: Change) -> str:
    return json.dumps(
        {
            "who": who,
            "change": what.kind,
            "pool": what.pool,
            "replica": what.replica,
            "before": None if what.before is None else declared(what.before),
            "after": None if what.after is None else declared(what.after),
        },
        separators=(",", ":"),
    )
