"""Fleets for the page: replicas that were measured, as many as a test wants."""

import math

from controlplane.plane import Probe
from controlplane.telemetry import GpuMemory, Histogram, Reading
from tests.api.served import POOL, Served

BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0, math.inf)


async def filled(api: Served, count: int = 3, pool: str = "m") -> Served:
    """With a pool whose replicas are ready and have answered requests for half a minute."""
    await api.ask("PUT", f"/v1/pools/{pool}", json=POOL | {"objective": {"p99": "150ms"}})
    replicas = [
        {"id": f"r{index:04}", "address": f"10.0.{index // 250}.{index % 250 + 1}:8080"}
        for index in range(count)
    ]
    body = {"replicas": replicas}
    assert (await api.ask("PUT", f"/v1/pools/{pool}/replicas", json=body)).status == 200
    for target in api.plane.targets():
        api.plane.probed(target, Probe.HEALTHY, api.now)
    live(api, 30)
    return api


def live(api: Served, seconds: int, rate: float = 5.0) -> None:
    """Let every replica answer so many requests a second, the later ones more slowly."""
    for _ in range(seconds):
        api.now += 1
        for index, target in enumerate(api.plane.targets()):
            done = rate * (api.now - 100.0) * (1 + 0.01 * (index % 7))
            slow = BOUNDS[1 + index % 4]
            counts = tuple(done if slow <= bound else 0.8 * done for bound in BOUNDS)
            memory = (GpuMemory(f"GPU-{index}", 30.0 + index % 50, 100.0),)
            latency = Histogram(BOUNDS, counts, done * slow * 0.8)
            reading = Reading(at=api.now, latency=latency, queue=float(index % 3), memory=memory)
            api.plane.record(target, reading, api.now)
        if api.now % 5 == 0:
            api.decide()
            list(api.plane.sampling_trends(api.now))
