"""What a pool does as a whole, now and in the last hour: windows of replicas in, one sum out.

A point every `EVERY` seconds is kept of each pool; an hour of a pool takes some 30 kB.
"""

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controlplane.balancing import Decision
from controlplane.fleet import Pool
from controlplane.plane.history import RETENTION
from controlplane.plane.inputs import Seen
from controlplane.plane.traffic import endpoint_of
from controlplane.telemetry import Window
from controlplane.telemetry.histogram import quantile

EVERY: Final = 10.0
"""Seconds between two points."""
_A_REQUEST: Final = 100.0
"""Tokens of a request where nobody has counted any."""


@dataclass(frozen=True, slots=True)
class PoolTraffic:
    """What the replicas of a pool do together, in requests and seconds; None: nobody measures it.

    `error_fraction` is from 0 to 1; `queue` counts requests or texts that wait in the replicas.
    """

    at: float
    rate: float | None = None
    p50: float | None = None
    p99: float | None = None
    error_fraction: float | None = None
    in_flight: float | None = None
    queue: float | None = None
    capacity: float | None = None


def tallying(
    pool: Pool, seen: Seen, decision: Decision | None, now: float
) -> Generator[None, None, PoolTraffic]:
    """Add up what the replicas of a pool do, and yield after each."""
    windows, counts, serving = list[Window | None](), list[float | None](), list[str]()
    reports = seen.traffic.reports
    for replica in pool.replicas.values():
        if (observed := seen.observed.current(pool.name, replica)) is not None:
            at = endpoint_of(pool.name, replica)
            windows.append(observed.window or reports.window(at))
            counts.append(reports.in_flight(at, now))
            if observed.readiness.may_serve and replica.draining is None:
                serving.append(replica.id)
        yield
    return total(windows, counts, _capacity(serving, decision), now)


def total(
    windows: Sequence[Window | None],
    counts: Sequence[float | None],
    capacity: float | None,
    now: float,
) -> PoolTraffic:
    """Add up windows of replicas, and requests at them as Envoys count them."""
    known = [window for window in windows if window is not None]
    in_flight = [
        window.in_flight if count is None and window is not None else count
        for window, count in zip(windows, counts, strict=True)
    ]
    lasting = [window for window in known if window.seconds > 0]
    failed = sum(window.errors / window.seconds for window in lasting)
    rate = sum(window.rate for window in lasting) if lasting else None
    p50, p99 = quantiles(lasting, 0.5, 0.99)
    return PoolTraffic(
        at=now,
        rate=rate,
        p50=p50,
        p99=p99,
        error_fraction=None if rate is None else failed / (rate + failed) if failed else 0.0,
        in_flight=_sum(in_flight),
        queue=_sum(window.queue for window in known),
        capacity=capacity,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _capacity(serving: Sequence[str], decision: Decision | None) -> float | None:
    if decision is None or not decision.is_measured:
        return None
    rows = [decision.rows[id_] for id_ in serving if id_ in decision.rows]
    working = np.array([row for row in rows if not decision.drained[row]], dtype=int)
    return float(np.nansum(decision.capacity[working])) / (decision.pool.length or _A_REQUEST)


def quantiles(windows: Iterable[Window], *parts: float) -> tuple[float | None, ...]:
    """Return quantiles of all durations, in seconds; requests lie evenly in a bucket."""
    groups: dict[tuple[float, ...], np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for window in windows:
        if window.counts and window.counts[-1] > 0:
            per_second = np.array(window.counts) / window.seconds
            known = groups.get(window.bounds)
            groups[window.bounds] = per_second if known is None else known + per_second
    bounds = sorted({bound for group in groups for bound in group})
    if not bounds:
        return (None,) * len(parts)
    finite, counts = bounds[:-1], np.zeros(len(bounds))
    for group, cumulative in groups.items():
        below = np.interp(finite, (0.0, *group[:-1]), (0.0, *cumulative[:-1])) if finite else []
        counts += np.append(below, cumulative[-1])
    found = (quantile(part, bounds, counts.tolist()) for part in parts)
    return tuple(each[0] if each else None for each in found)


class Trends:
    """The last hour of all pools, in memory: a restart of this process begins anew."""

    def __init__(self) -> None:
        self._points: dict[str, deque[PoolTraffic]] = {}

    def is_due(self, pool: str, now: float) -> bool:
        points = self._points.get(pool)
        return not points or now - points[-1].at >= EVERY

    def add(self, pool: str, point: PoolTraffic) -> None:
        """Keep a point; it is newer than the others of its pool."""
        points = self._points.setdefault(pool, deque(maxlen=int(RETENTION / EVERY)))
        points.append(point)
        while points[0].at < point.at - RETENTION:
            points.popleft()

    def of(self, pool: str, now: float, since: float = RETENTION) -> tuple[PoolTraffic, ...]:
        """List what is kept of a pool, the oldest first, of the last `since` seconds."""
        earliest = now - min(since, RETENTION)
        return tuple(point for point in self._points.get(pool, ()) if point.at >= earliest)

    def forget(self, pool: str) -> None:
        self._points.pop(pool, None)
