"""Envoy's own histograms: how long it had requests, and how long it waited for replicas. Pure.

In comes the answer of its admin interface's ``/stats?format=json&histogram_buckets=cumulative``.
Envoy adds to these every five seconds (``stats_flush_interval``), so the last seconds may be
missing, and its buckets are wide: a quantile is known to be at most some bound.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Buckets = Mapping[float, int]
"""How many durations were at most a bound, by the bound in seconds."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Durations of one histogram between two looks.

    Attributes:
        requests: How many there were.
        p50: Seconds that it was at most.
        p99: Likewise.
    """

    requests: int
    p50: float
    p99: float


def query(pool: str, clusters: Iterable[str]) -> str:
    """The path that answers with the histograms of a pool.

    Args:
        pool: Its name.
        clusters: The names of those that it has; Envoy has no colons in those of histograms.
    """
    names = "|".join(re.escape(it.replace(":", "_")) for it in clusters)
    down, up = (
        rf"http\.{re.escape(pool)}\.downstream_rq_time",
        rf"cluster\.({names})\.upstream_rq_time",
    )
    wanted = rf"^({down}|{up})$"
    return f"/stats?format=json&histogram_buckets=cumulative&filter={quote(wanted, safe='')}"


def histograms(answer: Mapping[str, Any]) -> dict[str, Buckets]:
    """Read the answer: ``downstream`` and ``upstream``, where Envoy has them.

    Upstream is a cluster for each class of requests; what they counted is added up.
    """
    found: dict[str, dict[float, int]] = {}
    for stat in answer.get("stats", ()):
        for entry in stat.get("histograms", ()):
            name = "upstream" if entry["name"].startswith("cluster.") else "downstream"
            buckets = found.setdefault(name, {})
            for bucket in entry["buckets"]:
                bound = bucket["upper_bound"] / 1000
                buckets[bound] = buckets.get(bound, 0) + int(bucket["cumulative"])
    return {**found}


def hops(before: Mapping[str, Buckets], after: Mapping[str, Buckets]) -> dict[str, Hop]:
    """What was added between two looks, by histogram; those that nothing was added to are left out.

    A histogram that has shrunk belongs to an Envoy that started anew.
    """
    found = {}
    for name, buckets in after.items():
        then = before.get(name, {})
        added = {bound: count - then.get(bound, 0) for bound, count in sorted(buckets.items())}
        if min(added.values(), default=0) < 0:
            added = dict(sorted(buckets.items()))
        total = max(added.values(), default=0)
        if total:
            found[name] = Hop(total, _bound(added, 0.5 * total), _bound(added, 0.99 * total))
    return found


def _bound(cumulative: Buckets, rank: float) -> float:
    return next(bound for bound, count in cumulative.items() if count >= rank)
