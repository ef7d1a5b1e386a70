"""Draw a load: latency over rate, its distribution, and each replica's share."""

import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controlplane.tools.load.outcome import PARTS, Measured, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES: Final = (5.2, 4.2)
"""Of each panel."""


def is_installed() -> bool:
    """Tell whether matplotlib, which is an extra, is installed."""
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
