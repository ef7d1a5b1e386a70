"""Print the result of a load: tables, and a sentence for each thing that matters."""

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controlplane.cli.tables import UNKNOWN, Column, console, print_table
from controlplane.cli.terminal import printable
from controlplane.tools.load.diagnosis import ms, per_second
from controlplane.tools.load.envoy import ReplicaLoad
from controlplane.tools.load.outcome import PARTS, Measured, Outcome
from controlplane.tools.load.record import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


_INCHES: Final = (5.2, 4.2)
"""Of each panel."""


def is_installed() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(outcome: Outcome, objective: float | None, file: Path) -> bool:
    """Draw an outcome into a PNG file; returns whether there was anything to draw."""
    # pyplot would look for a display.
    from matplotlib.figure import Figure

    telling = outcome.telling(objective)
    answered = [each for each in outcome.steps if each.record.whole.latency.count]
    panels: list[Callable[[Axes], None]] = []
    if len(answered) > 1:
        panels.append(partial(_over_rate, steps=answered, objective=objective))
    if answered:
        panels.append(partial(_distribution, steps=answered, objective=objective))
    if telling is not None and any(seen.share is not None for seen in telling.replicas):
        panels.append(partial(_shares, measured=telling))
    if not panels:
        return False
    figure = Figure(figsize=(len(panels) * _INCHES[0], _INCHES[1]), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes)
    figure.savefig(file, format="png", dpi=120)
    return True


def _over_rate(axes: "Axes", steps: Sequence[Measured], objective: float | None) -> None:
    rates = [each.step.rate for each in steps]
    for name, part in PARTS.items():
        quantiles = [each.record.whole.quantile(part) for each in steps]
        # What is infinite, or not known, is a gap.
        heights = [
            math.nan if value is None or math.isinf(value) else 1000 * value for value in quantiles
        ]
        axes.plot(rates, heights, marker="o", markersize=3, label=name)
    _objective(axes, objective)
    axes.set(xscale="log", yscale="log", xlabel="requests/s", ylabel="latency, ms")
    axes.set_xticks(rates, [f"{rate:.3g}" for rate in rates], fontsize="small")
    axes.minorticks_off()
    axes.set_title("Latency at each rate")
    axes.legend(fontsize="small")


def _distribution(axes: "Axes", steps: Sequence[Measured], objective: float | None) -> None:
    for measured in steps:
        for histogram, style, what in (
            (measured.record.whole.latency, "-", "from when it was due"),
            (measured.record.whole.service, ":", "from when it left"),
        ):
            if len(steps) > 1 and style == ":":
                continue
            points = histogram.curve()
            label = f"{measured.step.rate:.4g}/s" if len(steps) > 1 else what
            axes.plot(
                [max(1 - part, _least(measured)) for _, part in points],
                [1000 * seconds for seconds, _ in points],
                style,
                label=label,
            )
    _objective(axes, objective)
    axes.set(xscale="log", yscale="log", xlabel="part of the requests that takes longer")
    axes.set_ylabel("latency, ms")
    axes.set_xlim(1.0, min(map(_least, steps)))
    axes.set_title("Distribution of latency")
    axes.legend(fontsize="small")


def _least(measured: Measured) -> float:
    """Return what is drawn for the part that takes longest: a logarithm has no zero."""
    return 0.5 / measured.record.whole.latency.count


def _shares(axes: "Axes", measured: Measured) -> None:
    names = [seen.id for seen in measured.replicas]
    axes.bar(names, [100 * (seen.share or 0.0) for seen in measured.replicas], label="got")
    if all(seen.given is not None for seen in measured.replicas):
        given = [100 * (seen.given or 0.0) for seen in measured.replicas]
        axes.plot(names, given, "k_", markersize=18, label="by its weight")
        axes.legend(fontsize="small")
    axes.set_ylabel("part of the requests, %")
    axes.set_title(f"Replicas at {measured.step.rate:.4g}/s")


def _objective(axes: "Axes", objective: float | None) -> None:
    if objective is not None:
        axes.axhline(1000 * objective, color="grey", linestyle="--", linewidth=1)
