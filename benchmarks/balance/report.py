"""Runs as tables to read. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from benchmarks.balance.contenders import BY_NAME, PEERS, TITLES
from benchmarks.balance.journal import Entry
from benchmarks.balance.measures import Run, Summary, spread
from benchmarks.balance.scenario import Scenario
from benchmarks.balance.table import Row
from benchmarks.balance.verdicts import Finding, Verdict, judge, overall


@dataclass(frozen=True, slots=True)
class Judged:
    """A row of the table with one number of sidecars.

    Attributes:
        row: Which.
        sidecars: How many.
        repetitions: In which everybody ran.
        findings: About each thing that was wanted; none where nothing was, or was run.
    """

    row: Row
    sidecars: int
    repetitions: int
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict | None:
        """None where nothing was wanted or nothing was run."""
        return overall(self.findings) if self.findings else None


def judged(row: Row, sidecars: int, entries: Sequence[Entry]) -> Judged:
    """Hold the runs of a row to what is wanted of it, repetition by repetition.

    Args:
        row: Which.
        sidecars: How many.
        entries: One for each run, of whole repetitions only.
    """
    runs = by_contender(row.scenario, sidecars, entries)
    ours = runs.get(row.contender, [])
    peers = {TITLES[name]: runs[name] for name in PEERS if name in runs}
    if not ours or not peers:
        return Judged(row, sidecars, 0, [])
    return Judged(row, sidecars, len(ours), judge(row.wanted(sidecars), ours, peers))


def by_contender(scenario: str, sidecars: int, entries: Sequence[Entry]) -> dict[str, list[Run]]:
    """The runs of one scenario, in the order of repetitions, by the contenders' names."""
    there = sorted(
        (it for it in entries if (it.key.scenario, it.key.sidecars) == (scenario, sidecars)),
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
    for it in rows:
        if not it.findings:
            said = "nothing is wanted; see below" if it.repetitions else "not run"
            lines.append(f"| {it.row.title} | {it.sidecars} | {it.repetitions} | | {said} | |")
        for finding in it.findings:
            verdict = finding.verdict if finding.verdict == "met" else f"**{finding.verdict}**"
            lines.append(
                f"| {it.row.title} | {it.sidecars} | {it.repetitions} | {finding.wanted}"
                f" | {finding.found} | {verdict} |"
            )
    counts = Counter(it.verdict for it in rows if it.verdict is not None)
    said = ", ".join(f"{verdict} {count}" for verdict, count in sorted(counts.items()))
    return "\n".join([*lines, "", f"Of {sum(counts.values())} rows: {said or 'none was run'}."])


def table(scenario: Scenario, entries: Sequence[Entry]) -> str:
    """A scenario's runs in Markdown, a line for each contender."""
    lines = [
        f"### {scenario.cell}: {scenario.load:.0%} load, {scenario.rate:.0f} requests/s,"
        f" speeds {', '.join(f'{speed:.3g}' for speed in scenario.speeds)}",
        "",
        f"| contender | p50 ms | p99 ms | waiting | to fast ({scenario.fair_to_fast:.0%} is fair)"
        " | queues |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, runs in by_contender(scenario.name, scenario.sidecars, entries).items():
        summaries = [run.summary for run in runs]
        cells = (
            _range([it.p50 for it in summaries]),
            _range([it.p99 for it in summaries]),
            _range([it.waiting for it in summaries]),
            _range([100 * it.fast for it in summaries], " %"),
            _queues(runs, summaries),
        )
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def settings(names: Sequence[str]) -> str:
    """What each contender was given, in Markdown."""
    return "\n".join(f"- {TITLES[name]}: {BY_NAME[name].settings}" for name in names)


def _range(values: Sequence[float], unit: str = "") -> str:
    if max(values) == inf:
        return "–"
    seen = spread(values)
    text = f"{seen.middle:.0f}{unit}"
    return text if len(values) == 1 else f"{text} ({seen.low:.0f}–{seen.high:.0f})"


def _queues(runs: Sequence[Run], summaries: Sequence[Summary]) -> str:
    counts = Counter(it.verdict for it in summaries)
    said = [
        verdict if len(counts) == 1 else f"{verdict} {count} of {len(summaries)}"
        for verdict, count in counts.most_common()
    ]
    cuts = [it.cut_at for it in summaries if it.cut_at is not None]
    if cuts:
        said.append(f"cut after {min(cuts):.0f} s")
    if failed := sum(it.failed for it in summaries):
        said.append(f"{failed} requests failed")
    if out := sum(run.out_of_memory for run in runs):
        said.append(f"out of memory {out} times")
    if changes := sum(run.changes or 0 for run in runs):
        said.append(f"{changes} weight changes")
    if disturbed := sum(it.is_disturbed for it in summaries):
        said.append(f"disturbed {disturbed} of {len(summaries)}")
    return ", ".join(said)


def line(run: Run) -> str:
    """One run, as it is shown when it ends."""
    it = run.summary
    disturbed = f", disturbed: the generator was {it.late:.0f} ms late" if it.is_disturbed else ""
    if it.cut_at is not None:
        return f"collapsed, cut after {it.cut_at:.0f} s{disturbed}"
    memory = f", out of memory {run.out_of_memory} times" if run.out_of_memory else ""
    failed = f", {it.failed} failed" if it.failed else ""
    return f"p50 {it.p50:.0f} ms, p99 {it.p99:.0f} ms, {it.verdict}{failed}{memory}{disturbed}"


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
