"""After a registry was lost: what Envoys hold is not taken away before it is known again.

An Envoy that connects anew with a configuration may be served by replicas that are no longer known
here. Any answer about their pool would take them away. So it keeps what it holds of a
pool until replicas of it are known, and until it sends no requests to any that are not: load
reports tell. An Envoy that holds nothing is served at once.
"""

from collections.abc import Container, Generator, Mapping
from typing import Final

from controlplane.config import Address
from controlplane.fleet import Change, Fleet, Replica
from controlplane.plane.traffic import replica_at
from controlplane.resources.catalog import ALL
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
    """Which pools Envoys may be told of that hold something of them from before.

    Attributes:
        is_on: Whether something was lost that may not be known again.
    """

    def __init__(self) -> None:
        """Begin with nothing lost."""
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
