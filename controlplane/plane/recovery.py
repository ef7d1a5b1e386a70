"""After a restart: decisions from before, and when Envoys may be told anything.

Decisions come back for the replicas that are still the same processes. They hold until there are
readings again, and then are where estimates start.

After a registry was lost, what Envoys hold is not taken away before it is known again.

An Envoy that connects anew with a configuration may be served by replicas that are no longer known
here. Any answer about their pool would take them away. So an Envoy keeps the replicas that it holds
of a pool until the control plane knows replicas of the pool, and until load reports name no unknown
ones. An Envoy that holds nothing is served at once.
"""

from collections.abc import Container, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.balancing import Decision
from controlplane.balancing.restart import restored
from controlplane.balancing.sentences import duration
from controlplane.config import Address
from controlplane.fleet import Change, Fleet, Pool, Replica
from controlplane.plane.observed import lifetime_of
from controlplane.plane.traffic import replica_at
from controlplane.resources.catalog import ALL
from controlplane.telemetry import WINDOW
from controlplane.telemetry.load import Endpoint, Load

KNOWN_SECONDS: Final = 15.0
"""After there is a replica of a pool until Envoys are told of it: a heartbeat comes every third of
a ``ttl``, which often is 30 s, and an Envoy reports its load within 5 s."""

SILENT_SECONDS: Final = 30.0
"""Without an answered request after which a replica that is not known serves nobody."""

OVER_SECONDS: Final = 120.0
"""After all pools are known again; for so long what Envoys hold of other pools stays, too."""

MOST_UNKNOWN: Final = 10_000
"""Replicas that are not known and are kept in mind: an Envoy may report anything."""


class Recovery:
    """Which pools Envoys may be told of that hold something of them; `is_on`: since a loss."""

    def __init__(self) -> None:
        self._news: list[str] = []
        self._forget()

    def _forget(self) -> None:
        self.is_on = self._was_missing = False
        self._known_since: dict[str, float] = {}
        self._unknown: dict[Endpoint, float] = {}
        self._released: set[str] = set()
        self._noted: set[str] = set()
        self._left: set[Endpoint] = set()
        self._all_since: float | None = None

    @property
    def is_missing(self) -> bool:
        """Whether Envoys were seen to hold what is not known here, or were before this start."""
        return self.is_on and (self._was_missing or bool(self._noted))

    def begin(self, *, is_missing: bool = False) -> None:
        """Take note of a loss; `is_missing`: Envoys were seen to hold it, before this start."""
        self.is_on, self._was_missing = True, is_missing

    def reporting(
        self, fleet: Fleet, loads: Mapping[Endpoint, Load], now: float
    ) -> Generator[None, None, None]:
        """Take in to whom an Envoy sends requests, and yield after each endpoint."""
        for endpoint, load in loads.items() if self.is_on else ():
            yield
            if load.succeeded <= 0 or endpoint in self._left:
                continue
            if replica_at(fleet, endpoint) is not None:
                self._unknown.pop(endpoint, None)
            elif endpoint in self._unknown or len(self._unknown) < MOST_UNKNOWN:
                self._unknown[endpoint] = now
                self._note(endpoint)

    def adopt(self, found: Change) -> None:
        """Follow a difference of the fleet: what is removed while we are here is not missing."""
        if not self.is_on:
            return
        before, after = found.before, found.after
        if found.replica is None and after is None:
            self.release(found.pool)
            return
        if not isinstance(before, Replica) or len(self._left) >= MOST_UNKNOWN:
            return
        if not isinstance(after, Replica) or after.address != before.address:
            self._left.add(Endpoint(found.pool, before.address.host, before.address.port))

    def release(self, pool: str) -> None:
        """Serve a pool to all Envoys, whatever they hold: an operator confirms that it is right."""
        if self.is_on:
            self._released.add(pool)

    def released(
        self, fleet: Fleet, shown: Mapping[str, Container[str]], now: float
    ) -> frozenset[str] | None:
        """List the pools that Envoys may be sent, whatever they hold; None: nothing is lost."""
        if not self.is_on:
            return None
        self._unknown = {
            endpoint: at for endpoint, at in self._unknown.items() if now - at < SILENT_SECONDS
        }
        unknown = {endpoint.pool for endpoint in self._unknown}
        for name in fleet.pools:
            if name in self._released or not shown.get(name):
                continue
            since = self._known_since.setdefault(name, now)
            if now - since >= KNOWN_SECONDS and name not in unknown:
                self._released.add(name)
                if name in self._noted:
                    self._news.append(f"pool {name}: Envoys are told of its replicas again")
        if fleet.pools.keys() <= self._released and not unknown - self._released:
            self._released.add(ALL)
            self._all_since = now if self._all_since is None else self._all_since
            if now - self._all_since >= OVER_SECONDS:
                self._news.append("nothing is missing any more of the registry that was lost")
                self._forget()
                return None
        else:
            self._all_since = None
        return frozenset(self._released)

    def news(self) -> list[str]:
        """Take the news for an operator since the last call, in sentences."""
        news, self._news = self._news, []
        return news

    def _note(self, endpoint: Endpoint) -> None:
        name = endpoint.pool
        if name in self._noted or name in self._released or len(self._noted) >= MOST_UNKNOWN:
            return
        self._noted.add(name)
        self._news.append(
            f"pool {name}: Envoys are answered by {Address(endpoint.host, endpoint.port)}, which is"
            " not known here: it was lost with the registry. They keep what they hold of this pool;"
            " register its replicas again, or force a change of it"
        )


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
