"""Print the result of a load: tables, and a sentence for each thing that matters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from controlplane.cli.printable import printable
from controlplane.tools.load.diagnosis import ms, per_second
from controlplane.tools.load.outcome import PARTS, Measured, Outcome
from controlplane.tools.load.replicas import ReplicaLoad
from controlplane.tools.load.statistics import Histogram

_UNKNOWN: Final = "-"
_WIDE: Final = 200
"""Columns where there is no terminal: a table in a file or a pipe is not wrapped."""


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
    if telling is not None and telling.record.classes:
        console.print(_classes(outcome, telling))
    if telling is not None and telling.replicas:
        console.print(_replicas(telling.replicas))
    for sentence in sentences(outcome, objective):
        console.print(printable(sentence), soft_wrap=True)


def sentences(outcome: Outcome, objective: float | None) -> Iterator[str]:
    """Return the sentences, one after the other."""
    if outcome.stopped is not None:
        left = f"; {outcome.unanswered} requests had no answer yet" if outcome.unanswered else ""
        yield f"stopped before its end: this is what was measured so far{left}"
    telling = outcome.telling(objective)
    if telling is None:
        yield "nothing was measured: the load ended within the warm-up"
        return
    for each, series in telling.by_class(outcome.workload.classes):
        which = "all others" if each.match is None else f"requests {each.match}"
        part = telling.part_of_work(series)
        yield f"class {each.name}: {which}" + ("" if part is None else f", {part:.0%} of the work")
    for kind, count in telling.record.whole.faults.most_common():
        yield f"{count} × {kind}"
    for url, hops in outcome.hops.items():
        if parts := [
            f"{what} at most {ms(hops[name].p50)} (p50) and {ms(hops[name].p99)} (p99)"
            for name, what in (
                ("downstream", "had requests for"),
                ("upstream", "waited for replicas for"),
            )
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
        yield "no objective to judge by: give --objective 250ms, or take the pool's with --admin"


def _steps(steps: Sequence[Measured]) -> Table:
    return _table(
        [
            {
                "rate": f"{each.step.rate:.4g}/s",
                "requests": str(each.record.whole.requests),
                "achieved": f"{each.achieved:.4g}/s",
                "tokens": f"{per_second(each.tokens)}/s",
                "failed": str(each.record.whole.failed),
                **{name: _time(each.record.whole.quantile(part)) for name, part in PARTS.items()},
                "max": _time(each.record.whole.quantile(1.0)),
                "service p99": _p99(each.record.whole.service),
                "upstream p99": _p99(each.record.whole.upstream),
                "hop p99": _p99(each.record.whole.hop),
                "sent": _bytes(each.record.sent),
                "received": _bytes(each.record.received),
                "CPU": _part(each.record.cpu, "{:.0%}"),
            }
            for each in steps
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


def _classes(outcome: Outcome, measured: Measured) -> Table:
    return _table(
        [
            {
                "class": printable(each.name),
                "requests": str(series.requests),
                "achieved": f"{series.latency.count / measured.seconds:.4g}/s",
                "tokens": f"{per_second(series.tokens / measured.seconds)}/s",
                "failed": str(series.failed),
                **{name: _time(series.quantile(part)) for name, part in PARTS.items()},
            }
            for each, series in measured.by_class(outcome.workload.classes)
        ]
    )


def _replicas(replicas: Sequence[ReplicaLoad]) -> Table:
    return _table(
        [
            {
                "replica": printable(each.id),
                "share": _part(each.share, "{:.1%}"),
                "by weight": _part(each.given, "{:.1%}"),
                "rate": _part(each.rate, "{:.3g}/s"),
                "capacity": _part(each.capacity, "{:.3g}/s"),
                "tokens": _UNKNOWN
                if each.capacity_tokens is None
                else f"{per_second(each.capacity_tokens)}/s",
                "load": _part(each.load, "{:.0%}"),
                "mean latency": _time(each.latency),
                "in flight": _part(each.in_flight, "{:.3g}"),
                "queue": _part(each.queue, "{:.3g}"),
            }
            for each in replicas
        ]
    )


def _table(rows: Sequence[Mapping[str, str]]) -> Table:
    """Make a table of at least one row, without columns of which nothing is known."""
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
    """Format a duration: a dash where there is none, a word where a failed request is there."""
    if seconds is None:
        return _UNKNOWN
    return ms(seconds) if math.isfinite(seconds) else "failed"


def _p99(histogram: Histogram) -> str:
    return _time(histogram.quantile(0.99))


def _bytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
