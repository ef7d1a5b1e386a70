"""The memory of GPUs by uuid, over all replicas that report it, of any pool, and its guards."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from controlplane.settings import PoolSettings
from controlplane.weighing import filling
from controlplane.weighing.guard import UNKNOWN, Guard, watched, within_limits
from controlplane.weighing.replica import ReplicaInput, State
from controlplane.weighing.staleness import FORGOTTEN


def gpu_use(pools: Iterable[tuple[PoolSettings, Sequence[ReplicaInput]]]) -> dict[str, float]:
    """How full each GPU is, as the fullest that any replica on it reports.

    Args:
        pools: Every pool with its replicas; replicas of two pools may share a GPU.

    Returns:
        Fractions, 0 to 1, by uuid; a GPU of which nobody spoke lately is not in it.
    """
    fractions: dict[str, float] = {}
    for settings, inputs in pools:
        for replica in inputs:
            if replica.window is None or not _is_recent(replica, settings.metrics.interval):
                continue
            for gpu in replica.window.memory:
                for uuid in (gpu.uuid,) if gpu.uuid else replica.gpus:
                    fractions[uuid] = max(fractions.get(uuid, 0.0), gpu.fraction)
    return fractions


def memory_in_use(
    replica: ReplicaInput, gpus: Mapping[str, float], interval: float
) -> float | None:
    """Of the fullest GPU that a replica is on, 0 to 1; None where nobody knows."""
    if replica.gpu_uuid is None and (replica.window is None or not replica.window.memory):
        return None
    known = [gpus[uuid] for uuid in replica.gpus if uuid in gpus]
    if replica.window is not None and _is_recent(replica, interval):
        known += [gpu.fraction for gpu in replica.window.memory]
    return max(known, default=None)


def guarded(
    prior: Mapping[str, State],
    replicas: Mapping[str, ReplicaInput],
    ready: Collection[str],
    settings: PoolSettings,
    gpus: Mapping[str, float],
    patience: float,
    now: float,
) -> dict[str, Guard]:
    """The guard of each replica of a pool.

    Args:
        prior: What is still known, by id.
        replicas: Of the pool, by id.
        ready: Those that may get traffic.
        settings: Of the pool.
        gpus: Memory in use by GPU uuid, by `gpu_use`.
        patience: Seconds that memory must stay below soft before a cut ends.
        now: Seconds of a monotonic clock.
    """
    interval, found = settings.metrics.interval, {}
    for id_, replica in replicas.items():
        known = prior.get(id_)
        before = known.guard if known is not None else UNKNOWN
        if replica.window is None and replica.gpu_uuid is None and before.fraction is None:
            # Nobody ever speaks of its memory, as in most pools.
            found[id_] = before
            continue
        fraction = memory_in_use(replica, gpus, interval)
        guard = watched(before, fraction, replica.memory or settings.memory, patience, now)
        trail = filling.followed(before.trail, fraction, interval, now)
        ahead = filling.AHEAD * interval * filling.growth(trail)
        found[id_] = replace(guard, trail=trail, ahead=ahead)
    return within_limits(found, ready)


def _is_recent(replica: ReplicaInput, interval: float) -> bool:
    return replica.age is not None and replica.age <= FORGOTTEN * interval
