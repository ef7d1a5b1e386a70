"""How many replicas each pool should have: follows the decisions, and answers when asked."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

from controlplane.balancing import Decision
from controlplane.fleet import Draining, Fleet, Pool
from controlplane.plane.observed import Observations
from controlplane.scaling import PoolScaling, Recommendation, ReplicaState
from controlplane.telemetry.load import drained

COLD_STARTS: Final = "cold_starts"
"""The key of what is kept over restarts, in the weighing of a pool."""


class Scalings:
    """By pool."""

    def __init__(self) -> None:
        self._pools: dict[str, PoolScaling] = {}

    def looking(
        self,
        fleet: Fleet,
        observed: Observations,
        decision: Callable[[str], Decision | None],
        now: float,
    ) -> Generator[None, None, None]:
        """Take in what is new of the pools that are due, and yield after each replica."""
        for name, pool in fleet.pools.items():
            scaling = self._of(name, now)
            if scaling.is_due(now):
                of_pool = decision(name)
                states = yield from _states(pool, observed, of_pool)
                scaling.look(pool.settings, of_pool, states, now)
        for name in self._pools.keys() - fleet.pools.keys():
            del self._pools[name]

    def requested(self, pool: str, now: float, unserved: int = 0) -> None:
        """An Envoy has told of requests; see `PoolScaling.requested`."""
        self._of(pool, now).requested(now, unserved)

    def is_active(self, pool: Pool, now: float) -> bool:
        """Whether a pool is to have replicas."""
        return self._of(pool.name, now).is_active(pool.settings, now)

    def recommend(
        self,
        pool: Pool,
        observed: Observations,
        decision: Decision | None,
        held: str | None,
        dispatchers: int,
        now: float,
    ) -> Recommendation:
        """Work out how many replicas a pool should have.

        `held`: why nothing is to change in it; None: it may. `dispatchers`: Envoys that share out
        its requests.
        """
        if held is None and decision is not None and decision.suspect:
            held = "most replicas cannot be scraped; the control plane may be at fault"
        states = drained(_states(pool, observed, decision))
        of_pool = self._of(pool.name, now)
        return of_pool.recommend(pool.name, pool.settings, states, dispatchers, now, held=held)

    def data(self, pool: str) -> dict[str, Any]:
        """What outlives a restart of what is known of a pool."""
        known = self._pools.get(pool)
        return {COLD_STARTS: known.cold_starts.data()} if known is not None else {}

    def restore(self, pool: str, data: Mapping[str, Any], now: float) -> None:
        """Take up what was kept; of another version nothing."""
        samples: object = data.get(COLD_STARTS)
        if isinstance(samples, Sequence) and all(
            isinstance(sample, int | float) for sample in samples
        ):
            self._of(pool, now).cold_starts.learn(float(sample) for sample in samples)

    def forget(self, pool: str) -> None:
        self._pools.pop(pool, None)

    def _of(self, pool: str, now: float) -> PoolScaling:
        if pool not in self._pools:
            self._pools[pool] = PoolScaling(now)
        return self._pools[pool]


def _states(
    pool: Pool, observed: Observations, decision: Decision | None
) -> Generator[None, None, dict[str, ReplicaState]]:
    rows = decision.rows if decision is not None else {}
    found = {}
    for id_, replica in pool.replicas.items():
        # It may have gone since the look began.
        if (seen := observed.current(pool.name, replica)) is None:
            continue
        row = rows.get(id_)
        cut = decision is not None and row is not None and bool(decision.drained[row])
        found[id_] = ReplicaState(
            seen.lifetime,
            seen.readiness.may_serve,
            seen.readiness.since,
            seen.readiness.ready_since,
            is_out=cut or replica.draining is Draining.OPERATOR,
            is_leaving=replica.draining in (Draining.LEASE, Draining.DISCOVERY),
        )
        yield
    return found
