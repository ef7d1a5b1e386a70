"""What a decision is told of each replica: what was declared, scraped and reported."""

from typing import NamedTuple

from controlplane.balancing import ENVOYS, InFlight, ReplicaInput
from controlplane.fleet import Pool, Replica
from controlplane.plane.devices import Devices, Joined
from controlplane.plane.observations import Observations
from controlplane.plane.traffic import Traffic


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


def input_of(
    pool: Pool, replica: Replica, seen: Seen, now: float, *, is_parted: bool
) -> ReplicaInput:
    """What a decision is told of one replica.

    Args:
        pool: That it is in.
        replica: As it is declared.
        seen: Until now.
        now: Seconds of a monotonic clock.
        is_parted: Whether Envoys part the pool's requests into classes.
    """
    observed, traffic = seen.observed[pool.name, replica.id], seen.traffic
    window, scraped_at = observed.window, observed.renewed_at
    if not pool.settings.metrics.is_scraped:
        window = traffic.window(pool, replica)
        scraped_at = window.at if window else None
    # By everyone who counts: its own metrics and Envoys.
    in_flight = observed.in_flight(replica.settings.slots)
    if (reported := traffic.in_flight(pool, replica, now)) is not None:
        by_class = traffic.by_class(pool, replica, now)
        counts = {name: load.in_flight for name, load in by_class.items()} if is_parted else {}
        ended = {name: float(load.succeeded + load.failed) for name, load in by_class.items()}
        in_flight = (*in_flight, InFlight(ENVOYS, reported, now, by_class=counts, ended=ended))
    return ReplicaInput(
        id=replica.id,
        slots=replica.settings.slots,
        generation=observed.lifetime,
        window=window,
        scraped_at=scraped_at,
        gpu_uuid=_gpu_uuid(pool, replica, seen.devices, now),
        memory=replica.settings.memory,
        in_flight=in_flight,
        failing=traffic.failing(pool, replica, now),
        ready=observed.readiness.is_shown and replica.draining is None,
        ready_since=observed.readiness.ready_since,
        mark=hash((observed.readiness.state, replica.draining, observed.failure is None)),
    )


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
