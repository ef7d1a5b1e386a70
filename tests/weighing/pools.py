"""Pools for the tests of weighing: inputs as `signals` would give them, and rounds of weighing."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from controlplane.settings import PoolSettings
from controlplane.signals import GpuMemory, Window
from controlplane.weighing import ReplicaInput, Weighing, weigh

SETTINGS = PoolSettings.model_validate({"model": "m", "listener": {"address": "127.0.0.1:10000"}})
INTERVAL = SETTINGS.metrics.interval


LOAD = 0.5
"""Of the replicas here: M/M/1 queues, so that one request is in flight on average."""


def window(
    capacity: float = 100.0, *, at: float = 0.0, samples: float = 200, errors: float = 0.0
) -> Window:
    """A replica with one slot at half load."""
    latency = 1 / (1 - LOAD) / capacity
    return Window(
        at=at,
        seconds=5.0,
        samples=samples,
        errors=errors,
        rate=LOAD * capacity if samples else 0.0,
        latency=latency if samples else None,
        p99=latency * 2 if samples else None,
        resolution="ok",
        in_flight=LOAD / (1 - LOAD) if samples else 0.0,
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
            inputs = [later(each, previous, now) for each in inputs]
        previous = weigh(previous, settings, inputs, now)
        weighings.append(previous)
    return weighings


def later(each: ReplicaInput, previous: Weighing | None, now: float) -> ReplicaInput:
    """The replica after it has gone on as its window says, counters included."""
    if each.window is None:
        return each
    known = previous.replicas.get(each.id) if previous else None
    estimate = known.state.estimate if known else None
    counted = total = 0.0
    if estimate is not None and known is not None and known.state.generation == each.generation:
        record = estimate.record
        ended = each.window.rate * (now - record.at)
        counted = record.count + record.open.requests + ended
        # One request is in flight all the time, whatever the capacity: a second takes a second.
        total = record.total + each.window.in_flight * (now - record.since)
    return replace(each, window=replace(each.window, at=now, count=counted, total=total))


def settled(
    inputs: Sequence[ReplicaInput], previous: Weighing | None = None, seconds: float = 40
) -> Weighing:
    """What a pool comes to when nothing changes any more."""
    return rounds(inputs, int(seconds / INTERVAL), previous)[-1]


def weights(weighing: Weighing) -> dict[str, int]:
    """Envoy's weights by id."""
    return {id_: weighed.weight for id_, weighed in weighing.replicas.items()}
