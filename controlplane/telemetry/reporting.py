"""How often Envoys are asked to report: so often that all reports together are not too much."""

from typing import Final

INTERVAL: Final = 0.1
"""Seconds between two reports of an Envoy, at least: each is one look at what is in flight, and of
a queue that comes and goes within a second ten looks say much more than two."""

REPORTS: Final = 100.0
"""Reports a second of all Envoys together. Each repeats the 60 kB that an Envoy says of itself: so
many are 6 MB a second."""

ENDPOINTS: Final = 5000.0
"""Endpoints a second in all reports together: to take one in costs some 20 microseconds."""


def report_interval(envoys: int, endpoints: int) -> float:
    """Seconds between two reports of each Envoy.

    Args:
        envoys: That report.
        endpoints: That each of them has something to say about.
    """
    return max(INTERVAL, envoys / REPORTS, envoys * endpoints / ENDPOINTS)
