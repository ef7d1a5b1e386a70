"""Print the result of a load: tables, and a sentence for each thing that matters."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from controlplane.cli.tables import UNKNOWN, Column, console, print_table
from controlplane.cli.terminal import printable
from controlplane.tools.load.diagnosis import ms, per_second
from controlplane.tools.load.envoy import ReplicaLoad
from controlplane.tools.load.outcome import PARTS, Measured, Outcome
from controlplane.tools.load.record import Histogram

_RANKS: Final = {
    **dict.fromkeys(("received", "sent"), 6),
    **dict.fromkeys(("max", "p99.9", "p90"), 5),
    **dict.fromkeys(("CPU", "hop p99", "upstream p99", "service p99"), 4),
    **dict.fromkeys(("by weight", "queue", "in flight"), 3),
    **dict.fromkeys(("requests", "mean latency"), 2),
}
"""Which columns go first where a terminal is too narrow; others never go."""

Rows = Sequence[Mapping[str, str]]


def print_outcome(outcome: Outcome, objective: float | None) -> None:
    """Print everything."""
    telling = outcome.telling(objective)
    if outcome.steps:
        _print(_steps(outcome.steps))
    if telling is not None and len(outcome.workload.targets) > 1:
        _print(_targets(outcome, telling))
    if telling is not None and telling.record.classes:
        _print(_classes(outcome, telling))
    if telling is not None and telling.replicas:
        _print(_replicas(telling.replicas))
    for sentence in sentences(outcome, objective):
        console().print(printable(sentence), soft_wrap=True)


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
        part = telling.part_of_work(series)
        yield f"class {each}" + ("" if part is None else f", {part:.0%} of the work")
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


def _steps(steps: Sequence[Measured]) -> Rows:
    return [
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


def _targets(outcome: Outcome, measured: Measured) -> Rows:
    return [
        {
            "target": outcome.workload.targets[number].url,
            "requests": str(series.requests),
            "failed": str(series.failed),
            "p50": _time(series.quantile(0.5)),
            "p99": _time(series.quantile(0.99)),
        }
        for number, series in sorted(measured.record.targets.items())
    ]


def _classes(outcome: Outcome, measured: Measured) -> Rows:
    return [
        {
            "class": each.name,
            "requests": str(series.requests),
            "achieved": f"{series.latency.count / measured.seconds:.4g}/s",
            "tokens": f"{per_second(series.tokens / measured.seconds)}/s",
            "failed": str(series.failed),
            **{name: _time(series.quantile(part)) for name, part in PARTS.items()},
        }
        for each, series in measured.by_class(outcome.workload.classes)
    ]


def _replicas(replicas: Sequence[ReplicaLoad]) -> Rows:
    return [
        {
            "replica": each.id,
            "share": _part(each.share, "{:.1%}"),
            "by weight": _part(each.given, "{:.1%}"),
            "rate": _part(each.rate, "{:.3g}/s"),
            "capacity": _part(each.capacity, "{:.3g}/s"),
            "tokens": UNKNOWN
            if each.capacity_tokens is None
            else f"{per_second(each.capacity_tokens)}/s",
            "load": _part(each.load, "{:.0%}"),
            "mean latency": _time(each.latency),
            "in flight": _part(each.in_flight, "{:.3g}"),
            "queue": _part(each.queue, "{:.3g}"),
        }
        for each in replicas
    ]


def _print(rows: Rows) -> None:
    """Print a table of at least one row, without columns of which nothing is known, and a gap."""
    known = [name for name in rows[0] if any(row[name] != UNKNOWN for row in rows)]
    columns = [
        Column(name, _RANKS.get(name, 0), is_number=position > 0)
        for position, name in enumerate(known)
    ]
    print_table(columns, rows)
    console().print()


def _part(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)


def _time(seconds: float | None) -> str:
    """Format a duration: a dash where there is none, a word where a failed request is there."""
    if seconds is None:
        return UNKNOWN
    return ms(seconds) if math.isfinite(seconds) else "failed"


def _p99(histogram: Histogram) -> str:
    return _time(histogram.quantile(0.99))


def _bytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
