"""Pools for the tests of weighing: inputs as `signals` would give them, and rounds of weighing."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from controlplane.settings import PoolSettings
from controlplane.signals import GpuMemory, Window
from controlplane.weighing import ReplicaInput, Weighing, weigh

SETTINGS = PoolSettings.model_validate({"model": "m", "listener": {"address": "127.0.0.1:10000"}})
INTERVAL = SETTINGS.metrics.interval


def window(
    capacity: float = 100.0, *, at: float = 0.0, samples: float = 200, errors: float = 0.0
) -> Window:
    """An idle replica with one slot: its capacity is what one request takes, inverted."""
    latency = 1 / capacity
    return Window(
        at=at,
        seconds=5.0,
        samples=samples,
        errors=errors,
        rate=1e-9,
        latency=latency if samples else None,
        p99=latency * 2 if samples else None,
        resolution="ok",
        in_flight=0.0,
        error_fraction=errors / (samples + errors) if errors else 0.0,
    )


def replica(id_: str, capacity: float = 100.0, *, memory: float | None = None) -> ReplicaInput:
    """A replica that was scraped just now."""
    seen = window(capacity)
    if memory is not None:
        seen = replace(seen, memory=(GpuMemory(None, memory, 1.0),))
    return ReplicaInput(id_, window=seen, age=0.0)


def pool(*capacities: float) -> list[ReplicaInput]:
    """Replicas a, b, c … of these capacities."""
    return [replica(chr(ord("a") + i), capacity) for i, capacity in enumerate(capacities)]


Change = Callable[[ReplicaInput, float], ReplicaInput]


def rounds(
    inputs: Sequence[ReplicaInput],
    count: int,
    previous: Weighing | None = None,
    *,
    settings: PoolSettings = SETTINGS,
    fresh: bool = True,
) -> list[Weighing]:
    """Weigh the same inputs in so many scrape rounds, each with a new reading."""
    weighings = []
    for _ in range(count):
        now = previous.at + INTERVAL if previous else 0.0
        if fresh:
            inputs = [
                replace(each, window=replace(each.window, at=now)) if each.window else each
                for each in inputs
            ]
        previous = weigh(previous, settings, inputs, now)
        weighings.append(previous)
    return weighings


def settled(
    inputs: Sequence[ReplicaInput], previous: Weighing | None = None, seconds: float = 40
) -> Weighing:
    """What a pool comes to when nothing changes any more."""
    return rounds(inputs, int(seconds / INTERVAL), previous)[-1]


def weights(weighing: Weighing) -> dict[str, int]:
    """Envoy's weights by id."""
    return {id_: weighed.weight for id_, weighed in weighing.replicas.items()}
