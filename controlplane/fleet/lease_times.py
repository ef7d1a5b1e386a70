"""When which lease may run out, so that nobody has to look at all of them.

A heartbeat leaves this alone: a lease is looked at when it would have run out, and noted for later
if it was renewed. So each is looked at about once in its length.
"""

import math
from heapq import heappop, heappush

from controlplane.fleet.leases import ends_at
from controlplane.fleet.state import Fleet, Replica


class LeaseTimes:
    """The times of all leases, each at or before the one that it has by now."""

    def __init__(self) -> None:
        self._times: list[tuple[float, str, str]] = []
        self._noted: dict[tuple[str, str], float] = {}

    def note(self, pool: str, replica: Replica) -> None:
        """Take in a replica that came, or was declared or drained anew."""
        self._note(pool, replica.id, ends_at(replica))

    def due(self, fleet: Fleet, now: float) -> frozenset[str]:
        """The pools in which something may have to be drained or removed.

        Args:
            fleet: As it is; of each replica in it that is not as it came, `note` was told.
            now: Seconds of a monotonic clock.
        """
        found, later = set(), []
        while self._times and self._times[0][0] <= now:
            at, name, id_ = heappop(self._times)
            if self._noted.get((name, id_)) != at:
                # It was noted for an earlier time as well.
                continue
            del self._noted[name, id_]
            pool = fleet.pools.get(name)
            replica = pool.replicas.get(id_) if pool else None
            ends = ends_at(replica) if replica else math.inf
            later.append((name, id_, ends))
            if ends <= now:
                found.add(name)
        # Those that are due as well: they may have to stay, and are looked at again next time.
        for name, id_, ends in later:
            self._note(name, id_, ends)
        return frozenset(found)

    def _note(self, pool: str, id_: str, ends: float) -> None:
        if ends < self._noted.get((pool, id_), math.inf):
            self._noted[pool, id_] = ends
            heappush(self._times, (ends, pool, id_))
