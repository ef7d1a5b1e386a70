"""A replica's last hour as people read it: when its share changed, why, and what it reported."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from controlplane.cli.printable import printable
from controlplane.cli.readings import readings
from controlplane.cli.replica_table import percent, shown
from controlplane.client import History, HistoryEntry

_INDENT: Final = " " * 10


def timeline(history: History) -> Iterator[str]:
    """The lines.

    Args:
        history: The API's answer about one replica.
    """
    who = printable(f"{history.pool}/{history.id}")
    if not history.entries:
        yield f"{who}: nothing is kept of that time"
        return
    zone = _local(history.now).tzname()
    yield f"{who}: times in {zone}, now {_clock(history.now)}"
    for entry in history.entries:
        if entry.left_out:
            count = entry.left_out
            yield f"{_INDENT}({count} more like these {'was' if count == 1 else 'were'} not kept)"
        first, *more = entry.changes or ["as before"]
        yield f"{_clock(entry.at)}  {printable(first)}"
        for sentence in more:
            yield f"{_INDENT}{printable(sentence)}"
        yield f"{_INDENT}{_standing(entry)}; {readings(entry)}"


def _standing(entry: HistoryEntry) -> str:
    share = entry.share
    parts = [
        "share not known" if share is None else f"{percent(share)} of the traffic",
        f"weight {shown(entry.weight)}",
        printable(entry.tier or "no tier"),
        f"capacity {shown(entry.capacity, ' req/s')}",
    ]
    return ", ".join(parts)


def _clock(text: str) -> str:
    return f"{_local(text):%H:%M:%S}"


def _local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()
