"""What a load came to as people read it: tables, and a sentence for each thing that matters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from controlplane.cli.printable import printable
from controlplane.tools.load.diagnosis import ms
from controlplane.tools.load.outcome import PARTS, Measured, Outcome
from controlplane.tools.load.percentiles import Histogram
from controlplane.tools.load.replicas import Seen

_UNKNOWN: Final = "-"
_WIDE: Final = 200
"""Columns where there is no terminal: a table in a file or a pipe is not to be wrapped."""


def print_outcome(outcome: Outcome, objective: float | None) -> None:
    """Print everything."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    if outcome.steps:
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
            if name in hops
        ]:
            yield f"Envoy {url} {', '.join(parts)}, by its own histograms"
    at = f"at {telling.step.rate:.4g} requests/s: " if len(outcome.workload.steps) > 1 else ""
    for finding in telling.findings():
        yield at + finding.sentence
    if outcome.cut:
        why = "as many requests were in flight as --concurrency-limit"
        if outcome.steps and outcome.steps[-1].record.unsent:
            why = "the generator did not keep up"
        yield f"higher rates were left out: {why}"
    capacity = outcome.capacity(objective)
    if capacity is not None:
        yield capacity.sentence
    elif objective is None:
        yield "no objective to judge by: give one with --objective 250ms, or the pool's by --admin"


def _steps(steps: Sequence[Measured]) -> Table:
    return _table(
        [
            {
                "rate": f"{it.step.rate:.4g}/s",
                "requests": str(it.record.whole.requests),
                "achieved": f"{it.achieved:.4g}/s",
                "failed": str(it.record.whole.failed),
                **{name: _time(it.record.whole.quantile(part)) for name, part in PARTS.items()},
                "max": _time(it.record.whole.quantile(1.0)),
                "service p99": _p99(it.record.whole.service),
                "upstream p99": _p99(it.record.whole.upstream),
                "hop p99": _p99(it.record.whole.hop),
                "sent": _bytes(it.record.sent),
                "received": _bytes(it.record.received),
                "CPU": _part(it.record.cpu, "{:.0%}"),
            }
            for it in steps
        ]
    )


def _targets(outcome: Outcome, measured: Measured) -> Table:
    return _table(
        [
            {
                "target": printable(outcome.workload.targets[number].url),
                "requests": str(series.requests),
                "failed": str(series.failed),
                "p50": _time(series.quantile(0.5)),
                "p99": _time(series.quantile(0.99)),
            }
            for number, series in sorted(measured.record.targets.items())
        ]
    )


def _replicas(replicas: Sequence[Seen]) -> Table:
    return _table(
        [
            {
                "replica": printable(it.id),
                "share": _part(it.share, "{:.1%}"),
                "by weight": _part(it.given, "{:.1%}"),
                "rate": _part(it.rate, "{:.3g}/s"),
                "capacity": _part(it.capacity, "{:.3g}/s"),
                "load": _part(it.load, "{:.0%}"),
                "mean latency": _time(it.latency),
                "in flight": _part(it.in_flight, "{:.3g}"),
                "queue": _part(it.queue, "{:.3g}"),
            }
            for it in replicas
        ]
    )


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    """A table of at least one row, without the columns that nobody can tell anything of."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    known = [name for name in rows[0] if any(row[name] != _UNKNOWN for row in rows)]
    for position, name in enumerate(known):
        table.add_column(name, justify="right" if position else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in known))
    return table


def _part(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else form.format(value)


def _time(seconds: float | None) -> str:
    """A duration; a dash when there is none, and in words when a failed request stands there."""
    if seconds is None:
        return _UNKNOWN
    return ms(seconds) if math.isfinite(seconds) else "failed"


def _p99(histogram: Histogram) -> str:
    return _time(histogram.quantile(0.99))


def _bytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
