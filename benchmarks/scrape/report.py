"""The figures as people read them, with what is wanted of them. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.figures import range_of
from benchmarks.machine import DISTURBED
from benchmarks.scrape.fleet import INTERVAL
from benchmarks.scrape.served import Period
from controlplane.tools.load.record import nearest_rank

MOST_CPU: Final = 0.5
"""Of one core, for a thousand replicas scraped once a second."""

MOST_MEMORY: Final = 150e6
"""Bytes."""

ENOUGH: Final = 0.98
"""Part of the scrapes that should have been made; with fewer made it would be no wonder that
little was needed."""


@dataclass(frozen=True, slots=True)
class Round:
    """One repetition.

    Attributes:
        idle: The control plane with no Envoy connected.
        pushing: The same one with some.
        alone: The scraper without it; see `benchmarks.scrape.alone`.
        theirs: Seconds of CPU that prometheus_client takes to parse a text.
        ours: That we take.
    """

    idle: Period
    pushing: Period
    alone: dict[str, Any]
    theirs: float
    ours: float


def table(rounds: Sequence[Round], replicas: int, streams: int) -> str:
    """A line for each figure, then for each part of the CPU."""
    rate = replicas / INTERVAL

    def row(name: str, figure: Callable[[Period], float], wanted: str = "") -> str:
        periods = (
            [figure(item.idle) for item in rounds],
            [figure(each.pushing) for each in rounds],
        )
        return f"| {name} | {' | '.join(map(range_of, periods))} | {wanted} |"

    lines = [
        f"| {replicas} replicas at {1 / INTERVAL:g} Hz | no Envoy | {streams} streams | wanted |",
        "|---|---:|---:|---|",
        row("CPU, of one core", lambda this: this.load, verdict(rounds, _cpu, MOST_CPU, "≤ 0.5")),
        row("resident memory, MB", lambda element: element.rss / 1e6),
        row(
            "its peak, MB",
            lambda found_one: found_one.peak / 1e6,
            verdict(rounds, _memory, MOST_MEMORY, "≤ 150"),
        ),
        row("scrapes per second", lambda other_one: other_one.rate, _made(rounds, rate)),
        row("scrapes that failed", lambda round_: round_.failed, _none_failed(rounds)),
        row("MB scraped per second", lambda round_: round_.asked.bytes / round_.seconds / 1e6),
        row("a replica is scraped again after, p50, ms", lambda round_: round_.asked.gap(0.5)),
        row("p99, ms", lambda round_: round_.asked.gap(0.99)),
        row("at most, ms", lambda round_: round_.asked.gap(1)),
        row("REST answer (loop lag), p50, ms", lambda round_: nearest_rank(round_.answers, 0.5)),
        row("p99, ms", lambda round_: nearest_rank(round_.answers, 0.99)),
        row("at most, ms", lambda round_: max(round_.answers)),
        row("decisions per second", lambda round_: round_.decisions / round_.seconds),
        row("one takes, ms", lambda round_: 1000 * round_.deciding / max(round_.decisions, 1)),
        "",
        "| CPU seconds per second | |",
        "|---|---:|",
        *(f"| {name} | {range_of(values)} |" for name, values in _parts(rounds, rate).items()),
        "",
        "Scraping alone: an answer is read after "
        f"{range_of([item.alone['p50'] for item in rounds])} ms from its first byte, p99 "
        f"{range_of([entry.alone['p99'] for entry in rounds])} ms.",
    ]
    if any(
        round_.cores["others"] > DISTURBED
        for each in rounds
        for round_ in (each.idle, each.pushing)
    ):
        lines.append("Disturbed by others.")
    return "\n".join(lines)


def _parts(rounds: Sequence[Round], rate: float) -> dict[str, list[float]]:
    """Where the CPU goes; deciding is measured by the clock, the rest is CPU."""
    alone = [round_.alone["cpu"] / round_.alone["seconds"] for round_ in rounds]
    deciding = [round_.idle.deciding / round_.idle.seconds for round_ in rounds]
    rest = [
        round_.idle.load - scraping - decided
        for round_, scraping, decided in zip(rounds, alone, deciding, strict=True)
    ]
    return {
        "parsing the same by prometheus_client alone": [round_.theirs * rate for round_ in rounds],
        "parsing it as we do": [round_.ours * rate for round_ in rounds],
        "scraping alone, parsing included": alone,
        "deciding, weighing and building": deciding,
        "all else without Envoys: windows, REST, waking": rest,
        "pushing to the streams": [round_.pushing.load - round_.idle.load for round_ in rounds],
    }


def verdict(
    rounds: Sequence[Round], figure: Callable[[Round], float], most: float, wanted: str
) -> str:
    """Whether a figure is what it should be in every round."""
    return f"{wanted}: {'met' if all(figure(item) <= most for item in rounds) else 'missed'}"


def _cpu(each: Round) -> float:
    return max(each.idle.load, each.pushing.load)


def _memory(each: Round) -> float:
    return max(each.idle.peak, each.pushing.peak)


def _made(rounds: Sequence[Round], rate: float) -> str:
    least = min(min(round_.idle.rate, round_.pushing.rate) for round_ in rounds)
    return f"≥ {ENOUGH * rate:g}: {'met' if least >= ENOUGH * rate else 'missed'}"


def _none_failed(rounds: Sequence[Round]) -> str:
    failed = any(round_.idle.failed or round_.pushing.failed for round_ in rounds)
    return f"0: {'missed' if failed else 'met'}"
