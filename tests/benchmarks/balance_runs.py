"""Runs as a benchmark of balance would have them, for tests of what is made of them."""

from math import inf
from typing import Any

from benchmarks.balance.journal import Entry, Key
from benchmarks.balance.measures import ALL, Latency, Run, Summary, Work


def latency_of(p99: float, p50: float | None = None, failed: int = 0) -> Latency:
    return Latency(1000, failed, p99 / 10 if p50 is None else p50, p99)


def summary_of(p99: float, late: float = 1.0, bulk: float | None = None, **said: Any) -> Summary:
    """Of a run that collapsed where the p99 is inf; bulk takes ten times as long, unless said."""
    cut = p99 == inf
    of = latency_of(p99, **said)
    return Summary(
        verdict="collapsed" if cut else "steady",
        cut_at=12.0 if cut else None,
        latency={ALL: of, "search": of, "bulk": latency_of(10 * p99 if bulk is None else bulk)},
        late=late,
        waiting=p99 / 10,
        overloaded=0,
        errors=of.failed,
    )


def run_of(p99: float, *, changes: int | None = 0, out_of_memory: int = 0, **said: Any) -> Run:
    did = None if p99 == inf else Work(20_000.0, 1.25)
    summary = summary_of(p99, **said)
    return Run(summary, {"generator": 0.1}, 0.1, changes, did, out_of_memory, {})


def entry(
    contender: str, repetition: int, run: Run, scenario: str = "mixed-80", sidecars: int = 12
) -> Entry:
    return Entry(Key(scenario, sidecars, contender, repetition), run)
