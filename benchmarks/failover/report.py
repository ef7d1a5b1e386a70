"""Runs as a table to read, each scenario held to what is wanted of it. Pure."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isinf
from statistics import median

from benchmarks.failover.contenders import BY_NAME, OURS, PEERS
from benchmarks.failover.measures import Cost
from benchmarks.failover.scenarios import SCENARIOS, Scenario


@dataclass(frozen=True, slots=True)
class Entry:
    """One run and what it was of.

    Attributes:
        repetition: From 1 on; also the seed.
    """

    scenario: str
    contender: str
    repetition: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Verdict:
    """A scenario with what ours came to.

    Attributes:
        ratio: Median of the time beside the best peer's, repetition by repetition; None where there
            is no peer.
        best: The peer with the lowest median time; None where there is none.
        missed: What is wanted and not so, in words; empty: all is met.
    """

    ratio: float | None
    best: str | None
    missed: tuple[str, ...]


Costs = Mapping[str, Sequence[Cost]]
"""Of one scenario, by contender, in the order of repetitions."""


def by_scenario(entries: Iterable[Entry]) -> dict[str, dict[str, list[Cost]]]:
    """All runs, scenarios and contenders in their own order."""
    ordered = sorted(entries, key=lambda entry: entry.repetition)
    found: dict[str, dict[str, list[Cost]]] = {}
    for scenario in SCENARIOS:
        for contender in BY_NAME:
            of = [
                item.cost
                for item in ordered
                if (item.scenario, item.contender) == (scenario, contender)
            ]
            if of:
                found.setdefault(scenario, {})[contender] = of
    return found


def ratio(ours: float, peer: float) -> float:
    """A time beside a peer's: 0 where ours is none, infinite where only the peer's is none."""
    if ours == 0:
        return 0.0
    return inf if peer == 0 else ours / peer


def judge(scenario: Scenario, costs: Costs) -> Verdict | None:
    """Hold ours to what is wanted; None where ours was not run."""
    ours = costs.get(OURS)
    if not ours:
        return None
    wanted = scenario.wanted
    there = [name for name in PEERS if costs.get(name)]
    best = min(there, key=lambda name: median(item.seconds for item in costs[name]), default=None)
    found = None
    if best is not None:
        pairs = zip(ours, costs[best], strict=False)
        found = median(ratio(mine.seconds, peer.seconds) for mine, peer in pairs)
    limits = (
        ("failed", sum(our.failed for our in ours), wanted.failed),
        ("time ×", found or 0.0, wanted.ratio),
        ("reached replicas ×", max(our.reached or 0.0 for our in ours), wanted.reached),
        ("replicas died", max(our.died for our in ours), wanted.died),
        ("uploads kept", max(our.kept for our in ours), wanted.kept),
    )
    missed = tuple(
        f"{name} {_number(value)}, wanted {_number(most)}"
        for name, value, most in limits
        if value > most
    )
    return Verdict(found, best, missed)


def table(entries: Iterable[Entry]) -> str:
    """All scenarios in Markdown: a line each, a column for each contender, and the verdict."""
    found = by_scenario(entries)
    names = [name for name in BY_NAME if any(name in costs for costs in found.values())]
    lines = [
        f"| scenario | {' | '.join(BY_NAME[name].title for name in names)} | ratio | missed |",
        f"|---|{'---|' * len(names)}---:|---|",
    ]
    verdicts = []
    for scenario, costs in found.items():
        verdict = judge(SCENARIOS[scenario], costs)
        cells = [cell(costs[name]) if name in costs else "–" for name in names]
        said, missed = "–", "–"
        if verdict is not None:
            verdicts.append(verdict)
            said = "–" if verdict.ratio is None else f"{_number(verdict.ratio)} ×"
            missed = "; ".join(verdict.missed) or "met"
        lines.append(f"| {SCENARIOS[scenario].title} | {' | '.join(cells)} | {said} | {missed} |")
    met = sum(not verdict.missed for verdict in verdicts)
    return "\n".join([*lines, "", f"Of {len(verdicts)} scenarios {met} are met."])


def cell(costs: Sequence[Cost]) -> str:
    """What a contender came to in a scenario: failed of all, slow, and the time with its range."""
    failed, slow = sum(cost.failed for cost in costs), sum(cost.slow for cost in costs)
    said = [f"{failed} of {sum(cost.requests for cost in costs)} failed"]
    if slow:
        said.append(f"{slow} slow")
    times = [cost.seconds for cost in costs]
    if max(times) > 0:
        at_least = "≥ " if all(cost.lasting for cost in costs) else ""
        whole = f" ({min(times):.2g}–{max(times):.2g})" if len(times) > 1 else ""
        said.append(f"{at_least}{median(times):.2g} s{whole}")
    reached = [cost.reached for cost in costs if cost.reached is not None]
    if reached:
        said.append(f"{median(reached):.2f} × reached")
    if died := max(cost.died for cost in costs):
        said.append(f"{died} died")
    if kept := max(cost.kept for cost in costs):
        said.append(f"{kept} kept")
    if disturbed := sum(cost.is_disturbed for cost in costs):
        said.append(f"disturbed {disturbed} of {len(costs)}")
    return ", ".join(said)


def line(cost: Cost) -> str:
    """One run, as it is shown when it ends: with why requests failed."""
    why = ", ".join(f"{count} × {name}" for name, count in cost.faults.items())
    early = f", {cost.before} before the fault" if cost.before else ""
    return cell([cost]) + (f" ({why}{early})" if why else "")


def sheet(entries: Iterable[Entry]) -> str:
    """A line for each run, as CSV."""
    flat = []
    for entry in entries:
        data = asdict(entry)
        cost = data.pop("cost")
        why = "; ".join(f"{name}: {count}" for name, count in cost["faults"].items())
        flat.append({**data, **cost, "faults": why})
    text = io.StringIO()
    writer = csv.DictWriter(text, flat[0] if flat else [], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _number(value: float) -> str:
    if isinf(value):
        return "∞"
    return f"{value:.2f}".rstrip("0").rstrip(".")
