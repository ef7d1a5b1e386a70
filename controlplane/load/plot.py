"""A load as a picture: latency over rate, its distribution, and each replica's part."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from controlplane.load.outcome import PARTS, Measured, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES: Final = (5.2, 4.2)
"""Of each panel."""


def is_installed() -> bool:
    """Whether there is something to draw with: matplotlib is an extra."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(outcome: Outcome, objective: float | None, file: Path) -> None:
    """Draw an outcome with at least one step into a PNG file.

    Raises:
        OSError: The file cannot be written.
    """
    # pyplot would look for a display.
    from matplotlib.figure import Figure

    telling = outcome.telling(objective)
    replicas = telling is not None and any(it.share is not None for it in telling.replicas)
    panels = 1 + (len(outcome.steps) > 1) + replicas
    figure = Figure(figsize=(panels * _INCHES[0], _INCHES[1]), layout="constrained")
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    if len(outcome.steps) > 1:
        _over_rate(next(axes), outcome.steps, objective)
    _distribution(next(axes), outcome.steps, objective)
    if replicas and telling is not None:
        _shares(next(axes), telling)
    figure.savefig(file, format="png", dpi=120)


def _over_rate(axes: "Axes", steps: Sequence[Measured], objective: float | None) -> None:
    rates = [it.step.rate for it in steps]
    for name, part in PARTS.items():
        quantiles = [it.record.whole.quantile(part) for it in steps]
        # What is infinite, or not known, is a gap.
        heights = [math.nan if it is None or math.isinf(it) else 1000 * it for it in quantiles]
        axes.plot(rates, heights, marker="o", markersize=3, label=name)
    _objective(axes, objective)
    axes.set(xscale="log", yscale="log", xlabel="requests/s", ylabel="latency, ms")
    axes.set_xticks(rates, [f"{rate:.3g}" for rate in rates], fontsize="small")
    axes.minorticks_off()
    axes.set_title("Latency at each rate")
    axes.legend(fontsize="small")


def _distribution(axes: "Axes", steps: Sequence[Measured], objective: float | None) -> None:
    for it in steps:
        for histogram, style, what in (
            (it.record.whole.latency, "-", "from the intended time"),
            (it.record.whole.service, ":", "from the actual one"),
        ):
            if len(steps) > 1 and style == ":":
                continue
            points = histogram.curve()
            label = f"{it.step.rate:.4g}/s" if len(steps) > 1 else what
            # The part that takes longer; the last point has none, and a logarithm no zero.
            axes.plot(
                [max(1 - part, 0.5 / histogram.count) for _, part in points],
                [1000 * seconds for seconds, _ in points],
                style,
                label=label,
            )
    _objective(axes, objective)
    axes.set(xscale="log", yscale="log", xlabel="part of the requests that takes longer")
    axes.set_ylabel("latency, ms")
    axes.invert_xaxis()
    axes.set_title("Distribution of latency")
    axes.legend(fontsize="small")


def _shares(axes: "Axes", it: Measured) -> None:
    names = [seen.id for seen in it.replicas]
    axes.bar(names, [100 * (seen.share or 0.0) for seen in it.replicas], label="got")
    if all(seen.given is not None for seen in it.replicas):
        given = [100 * (seen.given or 0.0) for seen in it.replicas]
        axes.plot(names, given, "k_", markersize=18, label="by its weight")
        axes.legend(fontsize="small")
    axes.set_ylabel("part of the requests, %")
    axes.set_title(f"Replicas at {it.step.rate:.4g}/s")


def _objective(axes: "Axes", objective: float | None) -> None:
    if objective is not None:
        axes.axhline(1000 * objective, color="grey", linestyle="--", linewidth=1)
