"""What was seen of every replica that there is, and how it follows the fleet."""

from controlplane.fleet import Change, Pool, Replica
from controlplane.plane.observed import Observed
from controlplane.plane.readiness import State
from controlplane.plane.report import Target


class Observations(dict[tuple[str, str], Observed]):
    """By pool and replica id."""

    def current(self, target: Target) -> Observed | None:
        """What was seen of a target; None when it is no longer there."""
        observed = self.get((target.pool, target.replica.id))
        same = observed is not None and observed.generation == target.replica.generation
        return observed if same else None

    def is_shown(self, pool: str, replica_id: str) -> bool:
        """Whether Envoys may know of a replica; of one that has gone they may not."""
        observed = self.get((pool, replica_id))
        return observed is not None and observed.readiness.is_shown

    def is_probed(self, pool: str, replica: Replica) -> bool:
        """Whether a replica's health is to be asked for."""
        return self[pool, replica.id].readiness.state is not State.READY

    def serves(self, pool: str, replica: Replica) -> bool:
        """Whether a replica serves as far as we know."""
        observed = self.get((pool, replica.id))
        return observed is not None and observed.readiness.may_serve

    def are_probed(self) -> bool:
        """Whether every replica was probed once."""
        return all(observed.readiness.probed for observed in self.values())

    def adopt(self, found: Change, since: float) -> list[tuple[str, str]]:
        """Follow one difference of the fleet.

        Args:
            found: What came, changed or went.
            since: When a replica that came began to be there, seconds of a monotonic clock.

        Returns:
            Those of whom nothing is known any longer, by pool and id.
        """
        if found.replica is None:
            return self._adopt_pool(found)
        key, replica = (found.pool, found.replica), found.after
        known = self.get(key)
        if isinstance(replica, Replica):
            if known is not None and known.generation == replica.generation:
                return []
            self[key] = Observed.fresh(replica.generation, since)
        else:
            self.pop(key, None)
        return [] if known is None else [key]

    def _adopt_pool(self, found: Change) -> list[tuple[str, str]]:
        known, pool = found.before, found.after
        if not isinstance(known, Pool):
            return []
        keys = [(known.name, id_) for id_ in known.replicas]
        if not isinstance(pool, Pool):
            for key in keys:
                del self[key]
            return keys
        if is_read_anew(found):
            for key in keys:
                self[key].forget_readings()
        return []


def is_read_anew(found: Change) -> bool:
    """Whether a pool's replicas are read otherwise than before, or not at all any more."""
    known, pool = found.before, found.after
    if not isinstance(known, Pool) or not isinstance(pool, Pool):
        return False
    before, after = known.settings.metrics, pool.settings.metrics
    # What was said of a GPU's memory would stand for ever if nobody is asked any more.
    return not after.reads_like(before) or (before.gpu is not None and after.gpu is None)
