"""What the API says of where the replicas of a pool are found, as plain data."""

from typing import Any

from controlplane.edges.rest.views import plain
from controlplane.plane import PoolReport


def discovery_view(report: PoolReport, now: float) -> dict[str, Any]:
    """The sources of a pool, and what they say that is not followed.

    Args:
        report: Of the plane.
        now: Seconds of the clock that the plane is given.
    """
    return {
        "sources": [
            {
                "name": source.source,
                "replicas": None if source.found is None else len(source.found),
                "answer_age_s": plain(now - source.answered_at),
                "failing": source.failing,
                "problem": source.problem,
            }
            for source in report.sources
        ],
        "withheld": list(report.withheld),
        "clashes": list(report.clashes),
    }
