"""Start-up: what was known before a restart, when Envoys may be told anything, how often we decide.

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
from controlplane.telemetry import WINDOW

STARTUP_SECONDS: Final = 5.0
"""After a start nothing is served until every replica was probed once, for so long at most: Envoys
that hold a configuration must not lose it to a control plane that has not looked yet."""


@dataclass(frozen=True, slots=True)
class RestartReplica:
    """One replica as it was when the decision about it was kept, see `replica_data`."""

    generation: int
    shown: bool
    weighing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RestartPool:
    """A pool as it was when the decision about it was kept, some seconds before."""

    age: float
    weighing: Mapping[str, Any]
    replicas: Mapping[str, RestartReplica]


@dataclass(frozen=True, slots=True)
class Hold:
    """A time up to which a pool stays as it was decided, and why, for an operator."""

    until: float
    words: str


HELD: Final = 2 * WINDOW
"""Seconds after a restart until windows are full again. Without the tails and errors that they
show, weights would change twice: at once, and back again."""


def recalled(pool: Pool, known: RestartPool, now: float) -> tuple[Decision, Hold] | None:
    """Restore the decision about a pool; None where nothing of it is still known.

    A replica that is another process by now, or was kept by a version that wrote other data, is not
    in it: it begins anew.
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


PUSH_INTERVAL: Final = 0.25
"""Seconds between two pushes: every changed weight makes Envoy rebuild its load balancer."""

DECIDING: Final = 0.1
"""Part of the time that decisions may take: with thousands of replicas they are made more rarely,
so that scrapes, streams and requests are not kept waiting. What needs no decision does not wait."""

SAVED: Final = 1.0
"""Seconds of deciding that are saved up while there is nothing to decide: after a quiet time the
first changes in a pool of thousands do not wait for one another."""


class DecisionBudget:
    """Time that decisions may take, as a bucket that fills by `DECIDING` a second."""

    def __init__(self, now: float) -> None:
        """Begin with all that can be saved."""
        self._left, self._at = SAVED, now

    def spend(self, seconds: float, now: float) -> None:
        """Take in the seconds of CPU of a decision.

        What is more than can be saved is not held against the next decision: the first one encodes
        everything.
        """
        self._left, self._at = self._saved(now) - min(seconds, SAVED), now

    def wait(self, now: float) -> float:
        """Return the seconds until the next decision may be made; 0: at once."""
        return max(0.0, -self._saved(now) / DECIDING)

    def _saved(self, now: float) -> float:
        return min(self._left + DECIDING * (now - self._at), SAVED)
