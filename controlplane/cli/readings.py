"""What a replica reported, in one line: the readings of the API's answers as people read them."""

from typing import Final

from controlplane.cli.printable import printable
from controlplane.cli.replica_table import shown
from controlplane.client import GpuReading, HistoryEntry, Readings, Replica

_P99: Final = {"ok": "p99", "first bucket": "p99 at most", "last bucket": "p99 at least"}


def readings(known: Replica | HistoryEntry) -> str:
    """One line.

    Args:
        known: A replica, or an entry of its history.
    """
    window, age = known.readings, known.scrape.age_s
    parts = ["no readings"]
    if window is not None:
        old = "of load reports" if age is None else f"{shown(age, ' s')} old"
        requests = f"{shown(window.rate_rps)} req/s over {shown(window.window_s, ' s')}"
        parts = [f"readings, {old}: {requests}", *_latency(window), *_in_flight(window)]
        if window.errors:
            parts.append(f"{_percent(window.error_fraction)} failed")
        parts += [_memory(gpu) for gpu in window.memory]
    if known.in_flight is not None:
        parts.append(f"{shown(known.in_flight)} in flight by load reports")
    if window is not None and window.note:
        parts.append(window.note)
    return printable(", ".join(parts))


def _latency(window: Readings) -> list[str]:
    if window.latency_mean_ms is None:
        return ["no request in that time"]
    parts = [f"mean latency {shown(window.latency_mean_ms, ' ms')}"]
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
