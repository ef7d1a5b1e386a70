"""What a plane knew before a restart, handed back to it: Envoys are to see no difference.

In come the weighings that were kept; out come the same weighings for the replicas that are still
the same processes. They hold until there are readings again, and then are where estimates start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.fleet import Pool
from controlplane.signals import WINDOW
from controlplane.weighing import ReplicaWeighing, Weighing, restored_replica, restored_weighing
from controlplane.weighing.explanation import duration


@dataclass(frozen=True, slots=True)
class Remembered:
    """One replica as it was when its weighing was kept.

    Attributes:
        generation: The fleet's.
        shown: Whether Envoys knew of it.
        weighing: By `weighing.replica_data`.
    """

    generation: int
    shown: bool
    weighing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RememberedPool:
    """A pool as it was when its weighing was kept.

    Attributes:
        age: Seconds since then, by the wall clock; only told, nothing depends on it.
        weighing: By `weighing.pool_data`.
        replicas: By id.
    """

    age: float
    weighing: Mapping[str, Any]
    replicas: Mapping[str, Remembered]


@dataclass(frozen=True, slots=True)
class Hold:
    """A pool's weighing stays as it is for a while.

    Attributes:
        until: Seconds of a monotonic clock.
        words: Why, for an operator.
    """

    until: float
    words: str


HELD: Final = 2 * WINDOW
"""Seconds after a restart until windows are full again. Without the tails and errors that they
show, what Envoys are told would change twice: at once, and back again."""


def words_of(hold: Hold | None, now: float) -> str | None:
    """Why nothing is to change now; None: it may."""
    return hold.words if hold is not None and now < hold.until else None


def recalled(pool: Pool, known: RememberedPool, now: float) -> tuple[Weighing, Hold] | None:
    """The weighing of a pool as it was.

    Args:
        pool: As it is.
        known: What was kept.
        now: Seconds of a monotonic clock.

    Returns:
        None where nothing of it is still known. A replica that is another process by now, or was
        kept by a version that wrote other data, is not in it: it begins anew.
    """
    replicas: dict[str, ReplicaWeighing] = {}
    for id_, remembered in known.replicas.items():
        replica = pool.replicas.get(id_)
        if replica is None or replica.generation != remembered.generation:
            continue
        try:
            replicas[id_] = restored_replica(
                remembered.weighing,
                replica.generation << 32,
                counted=pool.settings.metrics.is_scraped,
            )
        except (KeyError, TypeError, ValueError):
            continue
    try:
        weighing = restored_weighing(known.weighing, replicas, now)
    except (KeyError, TypeError):
        return None
    if not replicas:
        return None
    words = (
        f"the control plane was restarted: what was decided {duration(max(known.age, 0.0))} before"
        " stays until there are enough readings again"
    )
    return weighing, Hold(now + max(HELD, 3 * pool.settings.metrics.interval), words)
