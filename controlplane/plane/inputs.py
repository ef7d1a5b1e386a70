"""What a decision is told of each replica: what was declared, scraped and reported."""

from dataclasses import replace
from typing import NamedTuple

from controlplane.balancing import ENVOYS, InFlight, ReplicaInput
from controlplane.fleet import Pool, Replica
from controlplane.plane.devices import Devices, Joined
from controlplane.plane.observations import Observations
from controlplane.plane.traffic import Traffic
from controlplane.signals import Window, profile_of


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
    metrics = pool.settings.metrics
    if not metrics.is_scraped:
        window = traffic.window(pool, replica)
        scraped_at = window.at if window else None
    elif window is not None and not profile_of(metrics).latency:
        window = _with_durations(window, traffic.window(pool, replica))
    # By everyone who counts: its own metrics and Envoys.
    in_flight = observed.in_flight(replica.settings.slots)
    if (reported := traffic.held_in_flight(pool, replica, now)) is not None:
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
        registrar=_registrar(replica),
    )


def _with_durations(own: Window, by_envoys: Window | None) -> Window:
    """What a server without durations says, beside those that Envoys saw."""
    if by_envoys is None:
        return own
    return replace(
        by_envoys,
        queue=own.queue,
        running=own.running,
        queue_unit=own.queue_unit,
        memory=own.memory,
        note=own.note,
        tokens=own.tokens,
        tokens_in=own.tokens_in,
    )


def joined(pool: Pool, replica: Replica, devices: Devices, now: float) -> Joined | None:
    """What exporters say of a replica's GPUs; None where its pool names none."""
    return devices.joined(pool.settings.metrics.gpu, replica.settings, now)


def _registrar(replica: Replica) -> str:
    """Who has said where a replica is and what it is on; empty for the config file."""
    if replica.layers.api is not None:
        return f"token {replica.layers.owner!r}" if replica.layers.owner else "the API"
    return replica.found_by or ""


def _gpu_uuid(pool: Pool, replica: Replica, devices: Devices, now: float) -> str | None:
    """What was declared, else the fullest GPU of its pod."""
    if replica.settings.gpu is not None:
        return replica.settings.gpu.uuid
    if pool.settings.metrics.gpu is None:
        return None
    found = joined(pool, replica, devices, now)
    return found.memory[-1].uuid if found is not None and found.memory else None
