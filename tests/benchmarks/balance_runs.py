"""Runs as a benchmark of balance would have them, for tests of what is made of them."""

from math import inf
from typing import Any

from benchmarks.balance.journal import Entry, Key
from benchmarks.balance.measures import Run, Summary


def summary_of(p99: float, p50: float | None = None, failed: int = 0, late: float = 1.0) -> Summary:
    """Of a run that collapsed where the p99 is inf."""
    cut = p99 == inf
    return Summary(
        verdict="collapsed" if cut else "steady",
        cut_at=12.0 if cut else None,
        requests=1000,
        failed=failed,
        p50=p99 / 10 if p50 is None else p50,
        p99=p99,
        late=late,
        waiting=p99 / 10,
        fast=0.5,
    )


def run_of(p99: float, *, changes: int | None = 0, out_of_memory: int = 0, **said: Any) -> Run:
    return Run(summary_of(p99, **said), {"generator": 0.1}, 0.1, changes, out_of_memory, {})


def entry(
    contender: str, repetition: int, run: Run, scenario: str = "mixed-80", sidecars: int = 12
) -> Entry:
    return Entry(Key(scenario, sidecars, contender, repetition), run)
