"""Slow start: a replica that has just become ready gets little at first, and more step by step.

In come when replicas became ready and the time; out comes what part of its share each may have. A
model that was just loaded answers its first requests slowly (caches, compilation, allocation), and
a full share of them at once would wait in line behind those.
"""

import math
from collections.abc import Mapping
from typing import Final

from controlplane.weighing.damping import FLOOR
from controlplane.weighing.explanation import Step, duration, percent

STEPS: Final = 5
"""In which a share grows; each one makes every Envoy rebuild its load balancer."""
MOST_COLD: Final = 0.5
"""Part of a pool that may start slowly. With more there is nobody to spare them, and to hold all
back alike changes nothing."""


def warmth(ready_since: float | None, seconds: float, now: float) -> float:
    """What part of its share a replica may have, above 0 and at most 1.

    Args:
        ready_since: When it became ready, seconds of a monotonic clock; None: long ago.
        seconds: That a slow start takes.
        now: Seconds of the same clock.
    """
    if ready_since is None or now - ready_since >= seconds:
        return 1.0
    passed = max(now - ready_since, 0.0) / seconds
    return (math.floor(passed * STEPS) + 1) / (STEPS + 1)


def is_warm(ready_since: float | None, seconds: float | None, now: float) -> bool:
    """Whether a replica that became ready then may have all of its share.

    Args:
        ready_since: See `warmth`.
        seconds: That a slow start takes; None: there is none.
        now: Seconds of the same clock.
    """
    return seconds is None or warmth(ready_since, seconds, now) >= 1


def cold(
    ready_since: Mapping[str, float | None],
    seconds: float | None,
    now: float,
    serving: int | None = None,
) -> dict[str, float]:
    """The warmth of those that are not warm yet, by id.

    Args:
        ready_since: Of every replica that gets traffic; those that are warm can be left out.
        seconds: That a slow start takes; None: there is none.
        now: Seconds of a monotonic clock.
        serving: How many get traffic; None: those of `ready_since`.
    """
    if seconds is None:
        return {}
    some = {
        id_: part
        for id_, since in ready_since.items()
        if since is not None and (part := warmth(since, seconds, now)) < 1
    }
    many = len(ready_since) if serving is None else serving
    return {} if len(some) > MOST_COLD * many else some


def warmed(
    targets: Mapping[str, float],
    cold: Mapping[str, float],
    ready_since: Mapping[str, float | None],
    seconds: float | None,
    now: float,
    steps: Mapping[str, list[Step]],
) -> dict[str, float]:
    """Targets, less for those that have just become ready.

    Args:
        targets: Where shares should be, relative to the pool's median, by id.
        cold: The warmth of those that are not warm yet, by `cold`.
        ready_since: Of every replica that gets traffic.
        seconds: That a slow start takes.
        now: Seconds of a monotonic clock.
        steps: Takes what there is to tell, by id.
    """
    left = dict(targets)
    for id_, part in cold.items():
        since = now - (ready_since[id_] or 0.0)
        after = max(left[id_] * part, FLOOR)
        steps[id_].append(warming_step(since, seconds or 0.0, left[id_], after, part))
        left[id_] = after
    return left


def cohort(ready_since: float, seconds: float) -> int:
    """Who starts slowly together: those that became ready within one step, from 0 to 999.

    Each alone in a tier would be thousands of tiers where thousands join at once, and all of a tier
    that changed with each step would make Envoys recreate its hosts.

    Args:
        ready_since: See `warmth`.
        seconds: Likewise.
    """
    return math.floor(ready_since * STEPS / seconds) % 1000


def warming_step(since: float, seconds: float, before: float, after: float, part: float) -> Step:
    """What to tell about a share that is held back."""
    words = f"ready for {duration(since)} of {duration(seconds)}: a slow start, at {percent(part)}"
    return Step("warming", before, after, words)
