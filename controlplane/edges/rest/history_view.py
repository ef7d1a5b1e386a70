"""What the API says of a replica's last hour: kept explanations in, JSON with wall-clock times out.

The plane knows only a clock that never goes back; here its times become those of a calendar.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from controlplane.balancing.sentences import explain
from controlplane.edges.rest.views import load_reports, plain, readings, steps_view
from controlplane.plane import KEPT, HistoryItem, changes


def history_view(
    pool: str, replica: str, told: Iterable[HistoryItem], now: float, wall: float
) -> dict[str, Any]:
    """The last hour of a replica, the oldest entry first.

    Args:
        pool: Its pool.
        replica: Its id.
        told: What is kept.
        now: Seconds of the clock that the plane is given.
        wall: The same moment, seconds since 1970.
    """
    return {
        "pool": pool,
        "id": replica,
        "now": _calendar(wall),
        "kept_s": KEPT,
        "entries": [_entry(it, now, wall) for it in told],
    }


def _entry(told: HistoryItem, now: float, wall: float) -> dict[str, Any]:
    entry, window = told.entry, told.entry.window
    scraped, counted = (None, window) if entry.by_envoys else (window, None)
    return {
        "at": _calendar(wall - now + entry.at),
        "age_s": plain(now - entry.at),
        "changes": list(changes(told.before, entry)),
        "left_out": told.left_out,
        "state": entry.state.value,
        "draining": entry.draining,
        "scrape": {"age_s": plain(entry.age) if scraped else None, "failure": entry.failure},
        "in_flight": plain(entry.in_flight),
        "readings": readings(scraped) if scraped else None,
        "load_reports": load_reports(counted, entry.age or 0.0) if counted else None,
        "capacity": plain(entry.capacity),
        "tier": entry.tier or None,
        "weight": entry.weight,
        "share": plain(entry.share),
        "classes": list(entry.classes),
        "serving": entry.serving,
        "drained": entry.drained,
        "stale": entry.stale,
        "why": list(explain(entry.steps)),
        "steps": steps_view(entry.steps),
    }


def _calendar(seconds: float) -> str:
    """RFC 3339, in UTC, to the millisecond."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
