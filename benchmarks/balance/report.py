"""Runs as tables to read. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.balance.cell import Cell
from benchmarks.balance.contenders import BY_NAME, PEERS, TITLES
from benchmarks.balance.journal import Entry
from benchmarks.balance.measures import ALL, Run
from benchmarks.balance.table import ORACLE, Row
from benchmarks.balance.verdicts import Finding, Verdict, judge, overall
from benchmarks.figures import spread


@dataclass(frozen=True, slots=True)
class Judged:
    """A row of the table.

    Attributes:
        row: Which.
        repetitions: In which everybody ran.
        findings: About each thing that was wanted; none where nothing was, or was run.
    """

    row: Row
    repetitions: int
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict | None:
        """None where nothing was wanted or nothing was run."""
        return overall(self.findings) if self.findings else None


def judged(row: Row, entries: Sequence[Entry]) -> Judged:
    """Hold the runs of a row to what is wanted of it, repetition by repetition.

    Args:
        row: Which.
        entries: One for each run, of whole repetitions only.
    """
    runs = by_contender(row.scenario, row.sidecars, entries)
    ours = runs.get(row.contender, [])
    peers = {TITLES[name]: runs[name] for name in PEERS if name in runs}
    if not ours or not peers:
        return Judged(row, 0, [])
    return Judged(row, len(ours), judge(row.wanted, ours, peers, runs.get(ORACLE, [])))


def by_contender(scenario: str, sidecars: int, entries: Sequence[Entry]) -> dict[str, list[Run]]:
    """The runs of one scenario, in the order of repetitions, by the contenders' names."""
    there = sorted(
        (
            item
            for item in entries
            if (item.key.scenario, item.key.sidecars) == (scenario, sidecars)
        ),
        key=lambda entry: entry.key.repetition,
    )
    return {
        name: [entry.run for entry in there if entry.key.contender == name]
        for name in BY_NAME
        if any(entry.key.contender == name for entry in there)
    }


def overview(rows: Sequence[Judged]) -> str:
    """The whole table in Markdown: each row with what was wanted, found, and the verdict."""
    lines = ["| scenario | sidecars | runs | wanted | found | |", "|---|---:|---:|---|---|---|"]
    for item in rows:
        if not item.findings:
            lines.append(f"| {item.row.title} | {item.row.sidecars} | 0 | | not run | |")
        for finding in item.findings:
            verdict = finding.verdict if finding.verdict == "met" else f"**{finding.verdict}**"
            lines.append(
                f"| {item.row.title} | {item.row.sidecars} | {item.repetitions} | {finding.wanted}"
                f" | {finding.found} | {verdict} |"
            )
    counts = Counter(row.verdict for row in rows if row.verdict is not None)
    said = ", ".join(f"{verdict} {count}" for verdict, count in sorted(counts.items()))
    return "\n".join([*lines, "", f"Of {sum(counts.values())} rows: {said or 'none was run'}."])


def table(cell: Cell, entries: Sequence[Entry]) -> str:
    """A cell's runs in Markdown, a line for each contender."""
    scenario = cell.scenario
    kinds = [*cell.kinds, ALL]
    names = [f"{kind} {quantile}" for kind in kinds for quantile in ("p50", "p99")]
    speeds = ", ".join(f"{speed:.3g}" for speed in scenario.speeds)
    lines = [
        f"### {cell.name}: {scenario.load:.0%} load, {cell.rate:.0f} requests/s, speeds {speeds}",
        "",
        f"| contender | {' | '.join(names)} | tokens/s | max/avg busy | CPU | queues |",
        f"|---|{'---:|' * (len(names) + 3)}---|",
    ]
    for name, runs in by_contender(scenario.name, cell.sidecars, entries).items():
        latencies = [[run.summary.latency[kind] for run in runs] for kind in kinds]
        did = [run.work for run in runs]
        cells = (
            *(
                _range([getattr(item, q) for item in each])
                for each in latencies
                for q in ("p50", "p99")
            ),
            _range([inf if entry is None else entry.tokens for entry in did]),
            _range([inf if this is None else this.uneven for this in did], 2),
            _range([sum(run.cpu.values()) for run in runs], 2),
            _queues(runs),
        )
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def settings(names: Sequence[str]) -> str:
    """What each contender was given, in Markdown."""
    return "\n".join(f"- {TITLES[name]}: {BY_NAME[name].settings}" for name in names)


def _range(values: Sequence[float], digits: int = 0) -> str:
    if max(values) == inf:
        return "–"
    seen = spread(values)
    middle, low, high = (f"{item:.{digits}f}" for item in (seen.middle, seen.low, seen.high))
    return middle if len(values) == 1 else f"{middle} ({low}–{high})"


def _queues(runs: Sequence[Run]) -> str:
    summaries = [run.summary for run in runs]
    counts = Counter(summary.verdict for summary in summaries)
    said = [
        verdict if len(counts) == 1 else f"{verdict} {count} of {len(summaries)}"
        for verdict, count in counts.most_common()
    ]
    cuts = [summary.cut_at for summary in summaries if summary.cut_at is not None]
    if cuts:
        said.append(f"cut after {min(cuts):.0f} s")
    if overloaded := sum(summary.overloaded for summary in summaries):
        said.append(f"{overloaded} × 429")
    if errors := sum(summary.errors for summary in summaries):
        said.append(f"{errors} × 5xx or no answer")
    if out := sum(run.out_of_memory for run in runs):
        said.append(f"out of memory {out} times")
    if changes := sum(run.changes or 0 for run in runs):
        said.append(f"{changes} weight changes")
    if disturbed := sum(summary.is_disturbed for summary in summaries):
        said.append(f"disturbed {disturbed} of {len(summaries)}")
    return ", ".join(said)


def line(run: Run) -> str:
    """One run, as it is shown when it ends."""
    shown = run.summary
    late = f": the generator was {shown.late:.0f} ms late" if shown.is_disturbed else ""
    said = [f"{kind} {of.p50:.0f} / {of.p99:.0f} ms" for kind, of in shown.latency.items()]
    if run.work is not None:
        said.append(f"busy max/avg {run.work.uneven:.2f}")
    return f"{', '.join(said)}, CPU {sum(run.cpu.values()):.2f}, {_queues([run])}{late}"


def missing(repetitions: Mapping[str, int], wanted: int) -> str:
    """Which repetitions are not there, in words; empty when all are.

    Args:
        repetitions: Whole ones, by scenario and sidecars.
        wanted: Of each.
    """
    lacking = [f"{name} {count}" for name, count in repetitions.items() if count < wanted]
    if not lacking:
        return ""
    return f"Missing: of {wanted} repetitions each there are only, of {'; '.join(lacking)}."
