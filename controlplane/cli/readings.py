"""What a replica reported, and Envoys of it, in one line: the API's figures as people read them."""

from typing import Final

from controlplane.cli.printable import printable
from controlplane.cli.replica_table import shown
from controlplane.client import GpuReading, HistoryEntry, LoadReports, Readings, Replica

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
    return [f"{_percent(window.error_fraction)} failed"] if window.errors else []


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
    return f"GPU memory{which} {_percent(gpu.fraction)}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part * 100:.3g} %"
