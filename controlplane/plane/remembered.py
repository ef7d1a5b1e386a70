"""What a plane knew before a restart, handed back to it: Envoys are to see no difference.

In comes what was kept of decisions; out come the same decisions for the replicas that are still
the same processes. They hold until there are readings again, and then are where estimates start.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.balancing import Decision
from controlplane.balancing.restart import restored
from controlplane.balancing.sentences import duration
from controlplane.fleet import Pool
from controlplane.plane.observed import lifetime_of
from controlplane.signals import WINDOW


@dataclass(frozen=True, slots=True)
class Remembered:
    """One replica as it was when the decision about it was kept.

    Attributes:
        generation: The fleet's.
        shown: Whether Envoys knew of it.
        weighing: By `replica_data`.
    """

    generation: int
    shown: bool
    weighing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RememberedPool:
    """A pool as it was when the decision about it was kept.

    Attributes:
        age: Seconds since then, by the wall clock; only told, nothing depends on it.
        weighing: By `pool_data`.
        replicas: By id.
    """

    age: float
    weighing: Mapping[str, Any]
    replicas: Mapping[str, Remembered]


@dataclass(frozen=True, slots=True)
class Hold:
    """What was decided about a pool stays as it is for a while.

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


def recalled(pool: Pool, known: RememberedPool, now: float) -> tuple[Decision, Hold] | None:
    """The decision about a pool as it was.

    Args:
        pool: As it is.
        known: What was kept.
        now: Seconds of a monotonic clock.

    Returns:
        None where nothing of it is still known. A replica that is another process by now, or was
        kept by a version that wrote other data, is not in it: it begins anew.
    """
    same = {
        id_: (remembered.weighing, lifetime_of(remembered.generation))
        for id_, remembered in known.replicas.items()
        if (replica := pool.replicas.get(id_)) is not None
        and replica.generation == remembered.generation
    }
    if (decision := restored(known.weighing, same, now)) is None:
        return None
    words = (
        f"the control plane was restarted: what was decided {duration(max(known.age, 0.0))} before"
        " stays until there are enough readings again"
    )
    return decision, Hold(now + max(HELD, 3 * pool.settings.metrics.interval), words)
