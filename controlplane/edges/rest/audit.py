"""The audit log: who changed what, when, from what to what; bounded, and a log line for each."""

import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from controlplane.edges.rest.etags import declared
from controlplane.fleet import Difference

_log = logging.getLogger("controlplane.audit")

KEPT: Final = 5_000
"""Entries; older ones are in the log only."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change.

    Attributes:
        number: From 1 on, without gaps.
        at: Seconds since 1970.
        who: The token's name, ``loopback``, ``config file``, ``discovery`` or ``control plane``.
        what: That was changed.
    """

    number: int
    at: float
    who: str
    what: Difference


class AuditLog:
    """The newest entries."""

    def __init__(self, clock: Callable[[], float], kept: int = KEPT) -> None:
        """Begin with none.

        Args:
            clock: Seconds since 1970.
            kept: How many to keep.
        """
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=kept)
        self._number = 0

    def record(self, who: str, what: Difference) -> Entry:
        """Add an entry, and log it as one line of JSON."""
        self._number += 1
        entry = Entry(self._number, self._clock(), who, what)
        self._entries.append(entry)
        _log.info("%s", json.dumps(entry_view(entry)))
        return entry

    def page(self, limit: int, before: int | None) -> tuple[list[Entry], int | None]:
        """The newest entries, the newest first.

        Args:
            limit: How many at most.
            before: Only those with a smaller number.

        Returns:
            The entries, and the number to ask with for older ones; None where there are none.
        """
        known = [it for it in self._entries if before is None or it.number < before]
        page = known[-limit:][::-1]
        return page, page[-1].number if len(known) > limit else None


def entry_view(entry: Entry) -> dict[str, Any]:
    """An entry as the API and the log show it."""
    what = entry.what
    return {
        "number": entry.number,
        "at": datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds"),
        "who": entry.who,
        "change": what.kind,
        "pool": what.pool,
        "replica": what.replica,
        "before": None if what.before is None else declared(what.before),
        "after": None if what.after is None else declared(what.after),
    }
