"""What the sources of each pool have found last, and how they do; the fleet follows from it."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from controlplane.config import PoolEntry, ReplicaSettings
from controlplane.config.addresses import Listeners
from controlplane.fleet import Applied, Draft, Fleet, Replica, discover, listeners_of

EMPTY_SECONDS: Final = 60.0
"""After a start Envoys are told nothing for so long while a pool is empty because one of its
sources has not answered: an Envoy that holds a configuration would lose the pool by it."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How one source does: its last complete set, and why there is no newer or better one.

    `failing`: the last attempt yielded no set. `is_whole`: its last set has everything.
    """

    source: str
    found: Mapping[str, ReplicaSettings] | None = None
    answered_at: float = -math.inf
    problem: str | None = None
    failing: bool = False
    is_whole: bool = True


@dataclass(slots=True)
class PoolReport:
    """How the sources of one pool do, by name in order of precedence; see `fleet.Merged`."""

    known: dict[str, SourceReport] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    clashes: tuple[str, ...] = ()
    is_due: bool = True

    @property
    def sources(self) -> tuple[SourceReport, ...]:
        return tuple(self.known.values())


class Discoveries:
    """The last set of every source."""

    def __init__(self) -> None:
        self._pools: dict[str, PoolReport] = {}

    def adopt(self, pools: Iterable[PoolEntry]) -> None:
        """Follow the sources of these pools and no others; what one has found stays with it."""
        before, self._pools = self._pools, {}
        for pool in pools:
            had = before.get(pool.name, PoolReport())
            names = [str(source) for source in pool.discovery]
            known = {name: had.known.get(name, SourceReport(name)) for name in names}
            # Those without a source too: what one found that was taken out of the file is to go.
            self._pools[pool.name] = PoolReport(known)
        for name, had in before.items():
            # A pool that is no longer in the file may stay, as the API declares a part of it.
            if name not in self._pools and (had.known or had.withheld):
                self._pools[name] = PoolReport()

    def found(
        self,
        pool: str,
        source: str,
        replicas: Mapping[str, ReplicaSettings],
        problem: str | None,
        now: float,
        *,
        is_whole: bool = True,
    ) -> None:
        """Take in a set; a source that is no longer followed is ignored."""
        if sources := self._following(pool, source):
            sources.known[source] = SourceReport(source, replicas, now, problem, is_whole=is_whole)
            sources.is_due = True

    def failed(self, pool: str, source: str, problem: str) -> None:
        """A source could not answer; the replicas it found before stay."""
        if sources := self._following(pool, source):
            sources.known[source] = replace(sources.known[source], problem=problem, failing=True)

    def report(self, pool: str) -> PoolReport:
        return self._pools.get(pool, PoolReport())

    @property
    def withholds(self) -> bool:
        """Whether any replica stays that no source has any more."""
        return any(sources.withheld for sources in self._pools.values())

    def have_started(self, fleet: Fleet, waited: float) -> bool:
        """Tell whether the sources have found enough, so many seconds after the start."""
        if waited >= EMPTY_SECONDS:
            return True
        return not any(
            source.found is None
            for name, sources in self._pools.items()
            if name in fleet.pools and not fleet.pools[name].replicas
            for source in sources.known.values()
        )

    def are_asked(self) -> bool:
        """Whether every source has answered or failed to."""
        return all(
            source.found is not None or source.failing
            for sources in self._pools.values()
            for source in sources.known.values()
        )

    def merged(
        self,
        fleet: Fleet,
        serves: Callable[[str, Replica], bool],
        is_shown: Callable[[str, Replica], bool],
        moved: Listeners,
        now: float,
    ) -> Applied:
        """Return the fleet with what the sources have found since it was last `taken_in`."""
        draft = Draft(fleet)
        due = [item for item in self._pools.items() if item[1].is_due or item[1].withheld]
        # What is found changes no listener, and there may be thousands of them.
        listeners = (listeners_of(fleet), moved) if due else ()
        for name, sources in due:
            sets = {source.source: source.found for source in sources.known.values()}
            parts = {source.source for source in sources.known.values() if not source.is_whole}
            merged = discover(
                draft,
                name,
                sets,
                partial(serves, name),
                now,
                parts,
                partial(is_shown, name),
                listeners,
            )
            sources.withheld, sources.clashes = merged.withheld, merged.clashes
        return draft.applied()

    def taken_in(self) -> None:
        """Note that the fleet has what was found."""
        for sources in self._pools.values():
            sources.is_due = False

    def _following(self, pool: str, source: str) -> PoolReport | None:
        sources = self._pools.get(pool)
        return sources if sources is not None and source in sources.known else None
