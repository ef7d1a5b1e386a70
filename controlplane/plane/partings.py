"""Bring Envoys from one parting of a pool's requests to another so that no request is lost.

A new class has its cluster before any route leads to it, for as long as Envoys need to check its
replicas' health. One that is no longer wanted loses its route first, and its cluster with the next
decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.resources.classes import Parting
from controlplane.settings import PoolSettings

CHECKED: Final = 1.0
"""Seconds after a health check's timeout in which an Envoy has made the first checks of a cluster:
only then can requests go there."""


@dataclass(frozen=True, slots=True)
class Told:
    """What Envoys are told of a pool's classes.

    Attributes:
        parting: None where requests are not parted.
        since: When Envoys were first told of each class that is wanted, by name.
        is_moving: Whether a further step is due, though nothing else may change.
    """

    parting: Parting | None = None
    since: Mapping[str, float] = field(default_factory=dict)
    is_moving: bool = False


def notice(settings: PoolSettings) -> float:
    """Seconds that Envoys need from a new cluster to the first request that may go there."""
    return settings.health_check.timeout + CHECKED


def next_step(before: Told | None, wanted: Parting | None, needed: float, now: float) -> Told:
    """Work out what Envoys are to be told next.

    Args:
        before: The last step; None where Envoys may hold what is wanted already, as after a
            restart: whoever has not, is new, and has no request that could be lost.
        wanted: How requests are to be parted in the end; where a class in it is not `routed`, no
            route leads to it yet in any case.
        needed: Seconds of notice.
        now: Seconds of a monotonic clock.
    """
    named = wanted.named if wanted is not None else ()
    if before is None:
        # As if they had been told long ago.
        return Told(wanted, {it.name: now - needed for it in named})
    since = {it.name: before.since.get(it.name, now) for it in named}
    coming = tuple(replace(it, routed=it.routed and now >= since[it.name] + needed) for it in named)
    old = before.parting.named if before.parting is not None else ()
    going = tuple(replace(it, routed=False) for it in old if it.routed and it.name not in since)
    last = wanted or before.parting
    if last is None or not (coming or going):
        return Told()
    parting = Parting((*coming, *going, last.classes[-1]))
    is_late = any(it.routed and not step.routed for it, step in zip(named, coming, strict=True))
    return Told(parting, since, is_moving=bool(going) or is_late)
