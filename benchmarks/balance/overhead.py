"""What measuring costs, and by how much service times are stretched so that it is small. Pure."""

from collections.abc import Sequence
from typing import Final

from benchmarks.balance.measures import ALL, Run

LIMIT_P99: Final = 5.0
"""Milliseconds that proxy, generator and this machine may add (99th percentile)."""

LIMIT_CPU: Final = 0.6
"""Of a core, that any one process may take."""

ATTEMPTS: Final = 3
"""So often costs are measured while they are over a limit; the lowest count, because whatever
disturbs a measurement adds to it."""

STRETCHES: Final = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)


class TooCostlyError(Exception):
    """Measuring costs more than stretching can make up for."""


def stretch(runs: Sequence[Run]) -> float:
    """By which factor service times grow, so that what measuring adds is within its limits.

    Fewer requests per second take less CPU, and beside a longer service the same delay is less.

    Args:
        runs: With replicas that answer at once.

    Raises:
        TooCostlyError: No factor that is sensible would do.
    """
    needed = excess(runs)
    for factor in STRETCHES:
        if needed <= factor:
            return factor
    p99, cpu = _worst(runs)
    raise TooCostlyError(
        f"measuring adds {p99:.0f} ms (p99) and takes up to {cpu:.0%} of a core: run it on a"
        " quieter machine, or with fewer --lanes"
    )


def excess(runs: Sequence[Run]) -> float:
    """What measuring cost at worst, in limits: up to 1 is within them."""
    p99, cpu = _worst(runs)
    return max(p99 / LIMIT_P99, cpu / LIMIT_CPU)


def _worst(runs: Sequence[Run]) -> tuple[float, float]:
    return max(_costs(run)[0] for run in runs), max(_costs(run)[1] for run in runs)


def _costs(run: Run) -> tuple[float, float]:
    return run.summary.latency[ALL].p99, run.busiest


def sentence(proxy: str, sidecars: int, rate: float, runs: Sequence[Run]) -> str:
    """What one kind of proxy cost, in words.

    Args:
        proxy: The kind.
        sidecars: How many.
        rate: Requests per second.
        runs: Of this kind, side by side with others.
    """
    worst = max(runs, key=_costs)
    p99, cpu = _costs(worst)
    p50 = worst.summary.latency[ALL].p50
    shares = ", ".join(f"{name} {share:.0%}" for name, share in worst.cpu.items())
    fits = "" if p99 < LIMIT_P99 and cpu < LIMIT_CPU else "; OVER THE LIMIT"
    return (
        f"{proxy}, {sidecars} sidecar{'s' * (sidecars > 1)}, {rate:.0f} requests/s: p50"
        f" {p50:.1f} ms, p99 {p99:.1f} ms, of which the generator was late (p99)"
        f" {worst.summary.late:.1f} ms; of one core: {shares}; the busiest process {cpu:.0%}{fits}"
    )


def verdict(factor: float) -> str:
    """What follows from the costs, in words."""
    limits = f"p99 {LIMIT_P99:g} ms, {LIMIT_CPU:.0%} of a core for any process"
    if factor == 1:
        return f"Within the limits ({limits}): service times are as they should be."
    return f"Over the limits ({limits}): requests in slots take {factor:g} times as long."
