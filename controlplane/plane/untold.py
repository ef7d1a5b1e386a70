"""What Envoys can be told of a change of the fleet before anything is decided again.

Shares are of a whole pool, and to work them out for thousands of replicas takes its time. That a
replica which Envoys know drains, serves again or has gone need not wait for it: it keeps the share
that it had, or none.
"""

from collections.abc import Iterator, Mapping

from controlplane.fleet import Difference
from controlplane.plane.observations import Observations
from controlplane.resources.portion import Portion


class Untold:
    """Replicas that the fleet has changed since the last decision."""

    def __init__(self) -> None:
        self._replicas: dict[str, set[str]] = {}
        self._to_decide: set[str] = set()

    def add(self, found: Difference) -> None:
        """Take in a difference of the fleet."""
        if found.replica is None:
            # Other settings may make other shares: the cluster of one policy is not to meet the
            # weights of another.
            self._to_decide.add(found.pool)
        else:
            self._replicas.setdefault(found.pool, set()).add(found.replica)

    def clear(self) -> None:
        """A decision has told of all."""
        self._replicas.clear()
        self._to_decide.clear()

    def taken(
        self, portions: Mapping[str, Mapping[str, Portion]], observed: Observations
    ) -> Iterator[tuple[str, dict[str, Portion]]]:
        """The portions of each pool of whose replicas something is to be told; once.

        Args:
            portions: Of the last decision, by pool and replica; whoever is new has none.
            observed: What was seen since: what came in place of another is not ready yet.
        """
        for pool in self._replicas.keys() - self._to_decide:
            known = portions.get(pool, {})
            changed = self._replicas.pop(pool) & known.keys()
            if not changed:
                continue
            seen = {id_: observed.get((pool, id_)) for id_ in changed}
            gone = {id_ for id_, it in seen.items() if it is None or not it.readiness.is_shown}
            kept = dict(known)
            for id_ in gone:
                del kept[id_]
            yield pool, kept
