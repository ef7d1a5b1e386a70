"""What a weighing is told of each replica: what was declared, scraped and reported."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from controlplane.fleet import Fleet, Pool, Replica
from controlplane.plane.devices import Devices, Joined
from controlplane.plane.observations import Observations
from controlplane.plane.observed import Observed
from controlplane.plane.traffic import Traffic
from controlplane.weighing import ENVOYS, InFlight, ReplicaInput, gpu_use


class Seen(NamedTuple):
    """Everything that was seen.

    Attributes:
        observed: Of each replica by itself.
        traffic: What Envoys report.
        devices: What exporters report.
    """

    observed: Observations
    traffic: Traffic
    devices: Devices


def gathered(
    fleet: Fleet, due: Iterable[str], seen: Seen, now: float
) -> tuple[dict[str, list[ReplicaInput]], Mapping[str, float]]:
    """Everything that the weighings of some pools are told.

    Args:
        fleet: All pools.
        due: Names of those that are to be weighed.
        seen: Until now.
        now: Seconds of a monotonic clock.

    Returns:
        What is known of each replica, by pool; and how full GPUs are, by uuid, where any replica
        that is to be weighed is on one.
    """

    def of(names: Iterable[str]) -> dict[str, list[ReplicaInput]]:
        pools = fleet.pools
        return {name: _of_pool(pools[name], seen, now) for name in names}

    inputs = of(due)
    if not any(it.gpus for known in inputs.values() for it in known if it.may_have_gpus):
        return inputs, {}
    # Those of other pools may share one.
    everything = inputs | of(fleet.pools.keys() - inputs.keys())
    return inputs, _gpu_memory(fleet.pools.values(), everything, seen.devices, now)


def _of_pool(pool: Pool, seen: Seen, now: float) -> list[ReplicaInput]:
    is_silent = _is_silent(pool, seen.traffic)
    found = []
    for replica in pool.replicas.values():
        observed = seen.observed[pool.name, replica.id]
        if is_silent and _is_unread(pool, observed):
            found.append(observed.unmeasured(replica))
        else:
            found.append(_measured(pool, replica, observed, seen.traffic, seen.devices, now))
    return found


def of_some(pool: Pool, ids: Collection[str], seen: Seen) -> dict[str, ReplicaInput | None] | None:
    """What the weighing of a pool is told of some replicas of which nothing is measured.

    Args:
        pool: As it is.
        ids: Of replicas that there are, or were.
        seen: Until now.

    Returns:
        By id; None stands for one that there is no longer. None for all where anything is
        measured, or may be.
    """
    if not _is_silent(pool, seen.traffic):
        return None
    found = dict[str, ReplicaInput | None]()
    for id_ in ids:
        if (replica := pool.replicas.get(id_)) is None:
            found[id_] = None
            continue
        observed = seen.observed[pool.name, id_]
        if not _is_unread(pool, observed):
            return None
        found[id_] = observed.unmeasured(replica)
    return found


def _is_silent(pool: Pool, traffic: Traffic) -> bool:
    """Whether nobody but a replica itself could say what it does."""
    return pool.settings.metrics.gpu is None and not traffic.is_about(pool.name)


def _is_unread(pool: Pool, observed: Observed) -> bool:
    """Whether a replica has not said it either, as far as is known."""
    has_age = pool.settings.metrics.is_scraped and observed.recalled_at is not None
    return observed.window is None and not has_age


def _measured(
    pool: Pool,
    replica: Replica,
    observed: Observed,
    traffic: Traffic,
    devices: Devices,
    now: float,
) -> ReplicaInput:
    window, age = observed.window, observed.age(now)
    if not pool.settings.metrics.is_scraped:
        window = traffic.window(pool, replica)
        age = now - window.at if window else None
    # By everyone who counts: its own metrics and Envoys.
    in_flight = observed.in_flight(replica.settings.slots)
    if (reported := traffic.in_flight(pool, replica, now)) is not None:
        in_flight = (*in_flight, InFlight(ENVOYS, reported, now))
    return ReplicaInput(
        id=replica.id,
        slots=replica.settings.slots,
        generation=observed.lifetime,
        window=window,
        age=age,
        memory=replica.settings.memory,
        in_flight=in_flight,
        gpu_uuid=_gpu_uuid(pool, replica, devices, now),
        ready=observed.readiness.is_shown and replica.draining is None,
        ready_since=observed.readiness.ready_since,
    )


def _gpu_memory(
    pools: Collection[Pool],
    inputs: Mapping[str, Sequence[ReplicaInput]],
    devices: Devices,
    now: float,
) -> dict[str, float]:
    """The part of its memory that is in use on each GPU, by its uuid.

    Replicas of several pools may share one, so what they use is added up over all of them.
    """
    used = gpu_use((pool.settings, inputs[pool.name]) for pool in pools)
    for pool in pools:
        if pool.settings.metrics.gpu is None:
            continue
        for replica in pool.replicas.values():
            for gpu in (joined(pool, replica, devices, now) or Joined()).memory:
                if gpu.uuid is not None:
                    used[gpu.uuid] = max(used.get(gpu.uuid, 0.0), gpu.fraction)
    return used


def joined(pool: Pool, replica: Replica, devices: Devices, now: float) -> Joined | None:
    """What exporters say of a replica's GPUs; None where its pool names none."""
    return devices.joined(pool.settings.metrics.gpu, replica.settings, now)


def _gpu_uuid(pool: Pool, replica: Replica, devices: Devices, now: float) -> str | None:
    """What was declared, else the fullest GPU of its pod."""
    if replica.settings.gpu is not None:
        return replica.settings.gpu.uuid
    if pool.settings.metrics.gpu is None:
        return None
    found = joined(pool, replica, devices, now)
    return found.memory[-1].uuid if found is not None and found.memory else None
