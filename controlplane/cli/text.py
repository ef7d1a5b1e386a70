"""The API's answers as people read them: numbers, and sentences about pools and replicas. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from controlplane.cli.tables import UNKNOWN
from controlplane.cli.terminal import counted, printable
from controlplane.client import (
    GpuReading,
    HistoryEntry,
    Pool,
    Readings,
    Replica,
    RequestStats,
    ServedClass,
)

_MAX_IDS: Final = 12
"""Replicas of a class that are named; the others are counted."""

_P99: Final = {"ok": "p99", "first bucket": "p99 at most", "last bucket": "p99 at least"}


def percent(share: float | None) -> str:
    """A share of the traffic."""
    return UNKNOWN if share is None else f"{share * 100:.1f} %"


def shown(value: float | None, unit: str = "") -> str:
    """A number with three significant digits, whole from 1000 on; a dash when it is unknown."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}{unit}" if abs(value) >= 1000 else f"{value:.3g}{unit}"


def lasted(seconds: float | None) -> str:
    """A time in one unit, whole from 10 on; a dash when it is unknown."""
    if seconds is None:
        return UNKNOWN
    value, unit = max(seconds, 0.0), "s"
    for length, longer in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            value, unit = seconds / length, longer
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def health(pool: Pool) -> str:
    """How many replicas are ready, and what is wrong with the others."""
    return ", ".join([f"{pool.counts.ready} of {pool.counts.total} ready", *notes(pool)])


def notes(pool: Pool) -> Iterator[str]:
    """What is wrong with a pool."""
    for name in ("starting", "unhealthy", "gone", "draining", "cut", "stale"):
        if count := getattr(pool.counts, name):
            yield f"{count} {name}"
    if pool.suspect:
        yield "most cannot be scraped: weights are frozen"
    if any(source.failing for source in pool.discovery.sources):
        yield "a source fails"


def class_lines(pool: Pool) -> Iterator[str]:
    """A line for each class of requests: which requests, how much of the work, which replicas."""
    for served in pool.parting or ():
        which = f"requests {served.match}" if served.match is not None else "all others"
        part = f", {_work(served)}," if served.part_of_work is not None else ""
        verb = "go" if served.routed else "are about to go"
        yield printable(f"class {served.name}: {which}{part} {verb} to {_ids(served.replicas)}")


def class_summary(pool: Pool) -> str:
    """All classes of a pool on one line; empty where requests are not parted."""
    return printable("; ".join(_summary(served) for served in pool.parting or ()))


def _summary(served: ServedClass) -> str:
    parts = [] if served.part_of_work is None else [_work(served)]
    parts.append(counted(len(served.replicas), "replica"))
    if not served.routed:
        parts.append("not routed yet")
    return f"{served.name}: {', '.join(parts)}"


def _work(served: ServedClass) -> str:
    return f"{percent(served.part_of_work)} of the work"


def _ids(ids: Sequence[str]) -> str:
    more = len(ids) - _MAX_IDS
    return ", ".join(ids) if more <= 0 else f"{', '.join(ids[:_MAX_IDS])} and {more} more"


def state(replica: Replica) -> str:
    """``ready``, and what else keeps requests away."""
    also = [f"draining ({replica.draining})"] if replica.draining else []
    also += ["cut"] if replica.drained else []
    also += ["stale"] if replica.stale else []
    return ", ".join([replica.state, *also])


def headline(replica: Replica) -> str:
    """A replica's name and what it gets, on one line."""
    window = replica.readings
    capacity = shown(replica.capacity, " req/s")
    if replica.capacity_tokens is not None:
        capacity += f" ({shown(replica.capacity_tokens, ' tokens/s')})"
    p99 = shown(window.p99_ms if window else None, " ms")
    parts = [state(replica), *_weight(replica), f"capacity {capacity}", f"p99 {p99}"]
    return printable(f"{replica.pool}/{replica.id}: {', '.join(parts)}")


def _weight(replica: Replica) -> list[str]:
    """Tier, weight and share, as far as its pool's policy has them."""
    policy = replica.policy_in_force
    if policy is None or replica.weight is None:
        return ["not weighed yet"]
    parts = [replica.tier or f"policy {policy}"]
    has_weight = replica.shares_told_to_envoy
    parts.append(f"weight {shown(replica.weight)}" if has_weight else "no weight of its own")
    if replica.share is not None:
        parts.append(f"{percent(replica.share)} of the traffic")
    if replica.classes:
        parts.append(f"serves {' and '.join(replica.classes)}")
    return parts


def readings(known: Replica | HistoryEntry) -> str:
    """What a replica reported, and Envoys reported of it, on one line."""
    window, counts, now = known.readings, known.load_reports, known.in_flight
    groups = []
    if window is not None:
        parts = [_rate("readings", known.scrape.age_s, window), *_latency(window)]
        parts += [*_in_flight(window), *_failed(window), *map(_memory, window.memory)]
        groups.append(parts + ([window.note] if window.note else []))
    if counts is not None:
        parts = [_rate("load reports", counts.age_s, counts), *_mean(counts)]
        parts.append(f"{shown(counts.in_flight)} in flight")
        parts += [f"now {shown(now)}"] if now is not None else []
        groups.append(parts + _failed(counts))
    elif now is not None:
        groups.append([f"{shown(now)} in flight by load reports"])
    return printable("; ".join(", ".join(parts) for parts in groups or [["no readings"]]))


def _rate(what: str, age: float | None, window: RequestStats) -> str:
    requests = f"{shown(window.rate_rps)} req/s over {shown(window.window_s, ' s')}"
    return f"{what}, {shown(age, ' s')} old: {requests}"


def _mean(window: RequestStats) -> list[str]:
    if window.latency_mean_ms is None:
        return ["no request in that time"]
    return [f"mean latency {shown(window.latency_mean_ms, ' ms')}"]


def _failed(window: RequestStats) -> list[str]:
    return [f"{_part(window.error_fraction)} failed"] if window.errors else []


def _latency(window: Readings) -> list[str]:
    parts = _mean(window)
    if window.p99_ms is not None:
        parts.append(f"{_P99[window.p99_resolution]} {shown(window.p99_ms, ' ms')}")
    return parts


def _in_flight(window: Readings) -> list[str]:
    parts = [f"{shown(window.in_flight)} in flight"]
    if window.queue is not None:
        parts.append(f"{shown(window.queue)} waiting")
    return parts


def _memory(gpu: GpuReading) -> str:
    which = f" of {gpu.gpu}" if gpu.gpu else ""
    return f"GPU memory{which} {_part(gpu.fraction)}"


def _part(part: float | None) -> str:
    return UNKNOWN if part is None else f"{part * 100:.3g} %"
