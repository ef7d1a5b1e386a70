"""How full GPUs are, over all pools: replicas of several may share one."""

from collections.abc import Mapping

from controlplane.balancing import Table
from controlplane.balancing.capacity import FORGOTTEN
from controlplane.fleet import Pool
from controlplane.plane.devices import Devices


def memory_in_use(
    pools: Mapping[str, Pool], tables: Mapping[str, Table], devices: Devices, now: float
) -> dict[str, float]:
    """The part of its memory that is in use on each GPU, by its uuid and who says so.

    Args:
        pools: All of them, by name.
        tables: What is known of their replicas; those on no GPU cost nothing.
        devices: What exporters say.
        now: Seconds of a monotonic clock.

    Returns:
        As the fullest says that any replica or exporter reports, 0 to 1; a GPU of which nobody
        spoke lately is not in it. What replicas of one registrar say stands apart from what all
        others say, see `ReplicaInput.gpu_key`; exporters are the operator's choice.
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
            told = devices.joined(metrics.gpu, replica.settings, now) if replica else None
            for gpu in told.memory if told is not None else ():
                if gpu.uuid is not None:
                    add(gpu.uuid, gpu.fraction)
    return found
