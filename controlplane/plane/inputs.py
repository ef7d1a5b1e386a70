"""What goes into a decision about each replica: what was declared, scraped and reported."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from controlplane.balancing import ENVOYS, InFlight, ReplicaInput, Table
from controlplane.balancing.capacity import FORGOTTEN
from controlplane.fleet import Pool, Replica
from controlplane.plane.devices import Devices
from controlplane.plane.observed import Observations
from controlplane.plane.traffic import Traffic, endpoint_of
from controlplane.telemetry import Window, profile_of


class Seen(NamedTuple):
    """What was seen of each replica, what Envoys report, and what exporters report."""

    observed: Observations
    traffic: Traffic
    devices: Devices


def input_of(
    pool: Pool, replica: Replica, seen: Seen, now: float, *, is_parted: bool
) -> ReplicaInput:
    """Put together what goes into a decision about one replica."""
    observed, reports = seen.observed[pool.name, replica.id], seen.traffic.reports
    at = endpoint_of(pool.name, replica)
    window, scraped_at = observed.window, observed.renewed_at
    metrics = pool.settings.metrics
    if not metrics.is_scraped:
        window = reports.window(at)
        scraped_at = window.at if window else None
    elif window is not None and not profile_of(metrics).latency:
        window = _with_durations(window, reports.window(at))
    # By everyone who counts: its own metrics and Envoys.
    in_flight = observed.in_flight(replica.settings.slots)
    if (reported := reports.held_in_flight(at, now)) is not None:
        by_class = reports.by_class(at, now)
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
        failing=reports.failing(at, now),
        ready=observed.readiness.is_shown and replica.draining is None,
        ready_since=observed.readiness.ready_since,
        mark=hash((observed.readiness.state, replica.draining, observed.failure is None)),
        registrar=_registrar(replica),
    )


def _with_durations(own: Window, by_envoys: Window | None) -> Window:
    """The readings of a server that has no durations, with the durations that Envoys saw."""
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


def _registrar(replica: Replica) -> str:
    """The registrar of a replica's address and GPU; empty for the config file."""
    if replica.layers.api is not None:
        return f"token {replica.layers.owner!r}" if replica.layers.owner else "the API"
    return replica.found_by or ""


def _gpu_uuid(pool: Pool, replica: Replica, devices: Devices, now: float) -> str | None:
    """What was declared, else the fullest GPU of its pod."""
    if replica.settings.gpu is not None:
        return replica.settings.gpu.uuid
    found = devices.gpus_of(pool, replica, now)
    return found.memory[-1].uuid if found is not None and found.memory else None


class Tables(dict[str, Table]):
    """Inputs by pool."""

    def copy(self) -> "Tables":
        """The same, to be changed apart."""
        return Tables((name, table.copy()) for name, table in self.items())

    def write(
        self, pool: Pool, some: Collection[str] | None, seen: Seen, now: float, *, is_parted: bool
    ) -> list[str]:
        """Write what is known of some replicas, None: of all; returns the ids of those gone."""
        table = self.setdefault(pool.name, Table())
        if some is None:
            some = self.ids(pool)
        gone = []
        for id_ in some:
            if (replica := pool.replicas.get(id_)) is not None:
                table.put(input_of(pool, replica, seen, now, is_parted=is_parted))
            else:
                table.remove(id_)
                gone.append(id_)
        return gone

    def ids(self, pool: Pool) -> set[str]:
        """The ids of a pool's replicas, and of replicas that have gone and have a row."""
        known = self.get(pool.name)
        return {*pool.replicas, *(known.rows if known is not None else ())}

    def begin(self, pool: Pool, ids: Iterable[str], seen: Seen, now: float) -> None:
        """Give known replicas the first rows, in this order."""
        of_pool = (input_of(pool, pool.replicas[id_], seen, now, is_parted=False) for id_ in ids)
        self[pool.name] = Table(of_pool)


def memory_in_use(
    pools: Mapping[str, Pool], tables: Mapping[str, Table], devices: Devices, now: float
) -> dict[str, float]:
    """Work out the part of its memory that is in use on each GPU, 0 to 1, by its uuid and reporter.

    The fullest reading of any replica or exporter counts; a GPU without a recent one is left out.
    What replicas of one registrar report stands apart from all others, see `ReplicaInput.gpu_key`;
    exporters are the operator's choice.
    """
    found: dict[str, float] = {}

    def add(uuid: str, fraction: float) -> None:
        found[uuid] = max(found.get(uuid, 0.0), fraction)

    for name, table in tables.items():
        if (pool := pools.get(name)) is None:
            continue
        metrics = pool.settings.metrics
        for id_, given in table.with_memory():
            at, window = given.scraped_at, given.window
            if window is not None and at is not None and now - at <= FORGOTTEN * metrics.interval:
                for gpu in window.memory:
                    for uuid in (gpu.uuid,) if gpu.uuid else given.gpus:
                        add(given.gpu_key(uuid), gpu.fraction)
            replica = pool.replicas.get(id_) if metrics.gpu is not None else None
            gpus = devices.gpus_of(pool, replica, now) if replica else None
            for gpu in gpus.memory if gpus is not None else ():
                if gpu.uuid is not None:
                    add(gpu.uuid, gpu.fraction)
    return found
