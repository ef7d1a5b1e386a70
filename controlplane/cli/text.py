"""The API's answers as people read them: numbers, and sentences about pools and replicas. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from controlplane.cli.tables import UNKNOWN, Column, print_table
from controlplane.cli.terminal import printable
from controlplane.client import (
    GpuReading,
    HistoryEntry,
    LoadReports,
    Pool,
    Readings,
    Replica,
    ServedClass,
)

_COLUMNS: Final = (
    Column("pool"),
    Column("id"),
    Column("address", rank=2),
    Column("state"),
    Column("tier", rank=6),
    Column("weight", rank=5, is_number=True),
    Column("share", is_number=True),
    Column("classes", rank=8),
    Column("capacity", rank=3, is_number=True),
    Column("tokens", rank=7, is_number=True),
    Column("rate", rank=1, is_number=True),
    Column("p99", rank=4, is_number=True),
    Column("scraped", rank=9, is_number=True),
)


def print_replicas(replicas: Sequence[Replica]) -> None:
    """Print one line for each replica."""
    print_table(_COLUMNS, [_cells(replica) for replica in replicas])


def headline(replica: Replica) -> str:
    """One line: who, and what it gets."""
    readings = replica.readings
    parts = [
        state(replica),
        *_given(replica),
        f"capacity {_capacity(replica)}",
        f"p99 {shown(readings.p99_ms if readings else None, ' ms')}",
    ]
    return printable(f"{replica.pool}/{replica.id}: {', '.join(parts)}")


def _given(replica: Replica) -> list[str]:
    """Tier, weight and share, as far as its pool's policy has them."""
    policy, share = replica.policy_in_force, replica.share
    if policy is None or replica.weight is None:
        return ["not weighed yet"]
    given = [replica.tier or f"policy {policy}"]
    told = replica.shares_told_to_envoy
    given.append(f"weight {shown(replica.weight)}" if told else "no weight of its own")
    if share is not None:
        given.append(f"{percent(share)} of the traffic")
    return [*given, f"serves {' and '.join(replica.classes)}"] if replica.classes else given


def _capacity(replica: Replica) -> str:
    """Requests per second, and tokens where they are counted."""
    found = shown(replica.capacity, " req/s")
    tokens = replica.capacity_tokens
    return found if tokens is None else f"{found} ({shown(tokens, ' tokens/s')})"


def state(replica: Replica) -> str:
    """``ready``, and what else keeps requests away."""
    also = [f"draining ({replica.draining})"] if replica.draining else []
    also += ["cut"] if replica.drained else []
    also += ["stale"] if replica.stale else []
    return ", ".join([replica.state, *also])


def percent(share: float | None) -> str:
    """A share of the traffic."""
    return UNKNOWN if share is None else f"{share * 100:.1f} %"


def shown(value: float | None, unit: str = "") -> str:
    """A number with three significant digits, whole from 1000 on; a dash when it is not known."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}{unit}" if abs(value) >= 1000 else f"{value:.3g}{unit}"


def _cells(replica: Replica) -> dict[str, str]:
    readings = replica.readings
    age = replica.scrape.age_s
    return {
        "pool": replica.pool,
        "id": replica.id,
        "address": replica.address,
        "state": state(replica),
        "tier": replica.tier or UNKNOWN,
        "weight": shown(replica.weight),
        "share": percent(replica.share),
        "classes": ", ".join(replica.classes) or UNKNOWN,
        "capacity": shown(replica.capacity, "/s"),
        "tokens": shown(replica.capacity_tokens, "/s"),
        "rate": shown(readings.rate_rps if readings else None, "/s"),
        "p99": shown(readings.p99_ms if readings else None, " ms"),
        "scraped": "never" if age is None else f"{shown(age, ' s')} ago",
    }


_NAMED: Final = 12
"""Replicas that are named; of a large pool the others are counted."""


def class_lines(pool: Pool) -> Iterator[str]:
    """A line for each class: which requests, how much of the work, which replicas."""
    for served in pool.parting or ():
        which = f"requests {served.match}" if served.match is not None else "all others"
        part = f", {_work(served)}," if served.part_of_work is not None else ""
        verb = "go" if served.routed else "are about to go"
        yield printable(f"class {served.name}: {which}{part} {verb} to {_ids(served.replicas)}")


def class_summary(pool: Pool) -> str:
    """All classes of a pool on one line; empty where requests are not parted."""
    return printable("; ".join(_summary(served) for served in pool.parting or ()))


def _summary(served: ServedClass) -> str:
    count = len(served.replicas)
    parts = [] if served.part_of_work is None else [_work(served)]
    parts.append(f"{count} replica{'' if count == 1 else 's'}")
    if not served.routed:
        parts.append("not routed yet")
    return f"{served.name}: {', '.join(parts)}"


def _work(served: ServedClass) -> str:
    return f"{percent(served.part_of_work)} of the work"


def _ids(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids) if more <= 0 else f"{', '.join(ids[:_NAMED])} and {more} more"


_P99: Final = {"ok": "p99", "first bucket": "p99 at most", "last bucket": "p99 at least"}


def readings(known: Replica | HistoryEntry) -> str:
    """One line.

    Args:
        known: A replica, or an entry of its history.
    """
    window, counted, now = known.readings, known.load_reports, known.in_flight
    said = []
    if window is not None:
        parts = [_rate("readings", known.scrape.age_s, window), *_latency(window)]
        parts += [*_in_flight(window), *_failed(window), *map(_memory, window.memory)]
        said.append(parts + ([window.note] if window.note else []))
    if counted is not None:
        parts = [_rate("load reports", counted.age_s, counted), *_mean(counted)]
        parts.append(f"{shown(counted.in_flight)} in flight")
        parts += [f"now {shown(now)}"] if now is not None else []
        said.append(parts + _failed(counted))
    elif now is not None:
        said.append([f"{shown(now)} in flight by load reports"])
    return printable("; ".join(", ".join(parts) for parts in said or [["no readings"]]))


def _rate(what: str, age: float | None, window: Readings | LoadReports) -> str:
    requests = f"{shown(window.rate_rps)} req/s over {shown(window.window_s, ' s')}"
    return f"{what}, {shown(age, ' s')} old: {requests}"


def _mean(window: Readings | LoadReports) -> list[str]:
    if window.latency_mean_ms is None:
        return ["no request in that time"]
    return [f"mean latency {shown(window.latency_mean_ms, ' ms')}"]


def _failed(window: Readings | LoadReports) -> list[str]:
    return [f"{_part_percent(window.error_fraction)} failed"] if window.errors else []


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
    return f"GPU memory{which} {_part_percent(gpu.fraction)}"


def _part_percent(part: float | None) -> str:
    return "-" if part is None else f"{part * 100:.3g} %"
