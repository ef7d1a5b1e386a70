"""What a load came to as people read it: tables, and a sentence for each thing that matters."""

import math
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from controlplane.cli.admin import printable
from controlplane.load.diagnosis import ms
from controlplane.load.outcome import PARTS, Measured, Outcome
from controlplane.load.percentiles import Histogram
from controlplane.load.replicas import Seen

_WIDE = 200
"""Columns where there is no terminal: a table in a file or a pipe is not to be wrapped."""


def print_outcome(outcome: Outcome, objective: float | None) -> None:
    """Print everything."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(_steps(outcome.steps))
    telling = outcome.telling(objective)
    if telling is not None and len(outcome.workload.targets) > 1:
        console.print(_targets(outcome, telling))
    if telling is not None and telling.replicas:
        console.print(_replicas(telling.replicas))
    for sentence in sentences(outcome, objective):
        console.print(printable(sentence), soft_wrap=True)


def sentences(outcome: Outcome, objective: float | None) -> Iterator[str]:
    """What is to be known, one after the other."""
    if outcome.stopped is not None:
        left = f"; {outcome.unanswered} requests had no answer yet" if outcome.unanswered else ""
        yield f"stopped before its end: this is what was measured so far{left}"
    telling = outcome.telling(objective)
    if telling is None:
        yield "nothing was measured: it ended within the warm-up"
        return
    for kind, count in telling.record.whole.faults.most_common():
        yield f"{count} × {kind}"
    for url, hops in outcome.hops.items():
        if parts := [
            f"{what} at most {ms(hops[name].p50)} (p50) and {ms(hops[name].p99)} (p99)"
            for name, what in (("downstream", "had requests"), ("upstream", "waited for replicas"))
            if name in hops and math.isfinite(hops[name].p99)
        ]:
            yield f"Envoy {url} {', '.join(parts)}, by its own histograms"
    at = f"at {telling.step.rate:.4g} requests/s: " if len(outcome.workload.steps) > 1 else ""
    for finding in telling.findings():
        yield at + finding.sentence
    if outcome.cut:
        yield "higher rates were left out: as many requests were in flight as --concurrency-limit"
    capacity = outcome.capacity(objective)
    if capacity is not None:
        yield capacity.sentence
    elif objective is None:
        yield "no objective to judge by: give one with --objective 250ms, or the pool's by --admin"


def _steps(steps: Sequence[Measured]) -> Table:
    table = _table(
        *("rate", "requests", "achieved", "failed", *PARTS, "max"),
        *("service p99", "upstream p99", "hop p99", "sent", "received", "CPU"),
    )
    for it in steps:
        record, whole = it.record, it.record.whole
        table.add_row(
            f"{it.step.rate:.4g}/s",
            str(whole.requests),
            f"{it.achieved:.4g}/s",
            str(whole.failed),
            *(_time(whole.quantile(part)) for part in (*PARTS.values(), 1.0)),
            *(_p99(it) for it in (whole.service, whole.upstream, whole.hop)),
            _bytes(record.sent),
            _bytes(record.received),
            "-" if record.cpu is None else f"{record.cpu:.0%}",
        )
    return table


def _targets(outcome: Outcome, measured: Measured) -> Table:
    table = _table("target", "requests", "failed", "p50", "p99")
    for number, series in sorted(measured.record.targets.items()):
        table.add_row(
            printable(outcome.workload.targets[number].url),
            str(series.requests),
            str(series.failed),
            *(_time(series.quantile(part)) for part in (0.5, 0.99)),
        )
    return table


def _replicas(replicas: Sequence[Seen]) -> Table:
    table = _table(
        *("replica", "share", "by weight", "rate", "capacity", "load"),
        *("mean latency", "in flight", "queue"),
    )
    for it in replicas:
        table.add_row(
            printable(it.id),
            *("-" if part is None else f"{part:.1%}" for part in (it.share, it.given)),
            *("-" if rate is None else f"{rate:.3g}/s" for rate in (it.rate, it.capacity)),
            "-" if it.load is None else f"{it.load:.0%}",
            _time(it.latency),
            *("-" if count is None else f"{count:.3g}" for count in (it.in_flight, it.queue)),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(columns):
        table.add_column(name, justify="right" if position else "left", no_wrap=True)
    return table


def _time(seconds: float | None) -> str:
    """A duration; a dash when there is none, and in words when a failed request stands there."""
    if seconds is None:
        return "-"
    return ms(seconds) if math.isfinite(seconds) else "failed"


def _p99(histogram: Histogram) -> str:
    return _time(histogram.quantile(0.99))


def _bytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
