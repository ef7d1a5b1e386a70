"""Runs as a table to read, and as files to keep. Pure."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isinf
from typing import Any

from benchmarks.balance.contenders import OURS
from benchmarks.balance.measures import Spread, Summary, ratios, spread
from benchmarks.balance.run import Run
from benchmarks.balance.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Row:
    """One run and what it was of.

    Attributes:
        scenario: Its name.
        contender: Its name.
        repetition: From 1 on; also the seed.
        run: What came of it.
    """

    scenario: str
    contender: str
    repetition: int
    run: Run


def table(scenario: Scenario, rows: Sequence[Row]) -> str:
    """A scenario's runs in Markdown, a line for each contender, and how Plimsoll compares."""
    runs = _by_contender(scenario, rows)
    lines = [
        f"### {scenario.name}: {scenario.load:.0%} load, {scenario.rate:.0f} requests/s,"
        f" speeds {', '.join(f'{speed:g}' for speed in scenario.speeds)}",
        "",
        f"| contender | p50 ms | p99 ms | waiting | to fast ({scenario.fair_to_fast:.0%} is fair)"
        " | queues |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, summaries in runs.items():
        cells = (
            _range([it.p50 for it in summaries]),
            _range([it.p99 for it in summaries]),
            _range([it.waiting for it in summaries]),
            _range([100 * it.fast for it in summaries], " %"),
            _queues(summaries),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_comparison(runs)])


def _by_contender(scenario: Scenario, rows: Sequence[Row]) -> dict[str, list[Summary]]:
    runs: dict[str, list[Summary]] = {}
    for row in rows:
        if row.scenario == scenario.name:
            runs.setdefault(row.contender, []).append(row.run.summary)
    return runs


def _range(values: Sequence[float], unit: str = "") -> str:
    if max(values) == inf:
        return "–"
    seen = spread(values)
    text = f"{seen.middle:.0f}{unit}"
    return text if len(values) == 1 else f"{text} ({seen.low:.0f}–{seen.high:.0f})"


def _queues(summaries: Sequence[Summary]) -> str:
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
    if disturbed := sum(it.is_disturbed for it in summaries):
        said.append(f"disturbed {disturbed} of {len(summaries)}")
    return ", ".join(said)


def _comparison(runs: Mapping[str, Sequence[Summary]]) -> list[str]:
    peers = {name: summaries for name, summaries in runs.items() if name != OURS}
    if OURS not in runs or not peers:
        return []
    lines = []
    for what in ("p50", "p99"):
        ours = [getattr(it, what) for it in runs[OURS]]
        theirs = [[getattr(it, what) for it in summaries] for summaries in peers.values()]
        found = ratios(ours, theirs)
        if found is None:
            lines.append(f"{OURS}'s {what} cannot be compared: it, or all peers, collapsed.")
        else:
            best = list(peers)[found.peer]
            lines.append(f"{OURS}'s {what} is {_times(found.ratio)} that of {best}, the best peer.")
    return lines


def _times(ratio: Spread) -> str:
    text = f"{ratio.middle:.2f} ×"
    return text if ratio.low == ratio.high else f"{text} ({ratio.low:.2f}–{ratio.high:.2f})"


def line(run: Run) -> str:
    """One run, as it is shown when it ends."""
    it = run.summary
    disturbed = f", disturbed: the generator was {it.late:.0f} ms late" if it.is_disturbed else ""
    if it.cut_at is not None:
        return f"collapsed, cut after {it.cut_at:.0f} s{disturbed}"
    return f"p50 {it.p50:.0f} ms, p99 {it.p99:.0f} ms, {it.verdict}{disturbed}"


def cost(scenario: Scenario, run: Run) -> str:
    """What measuring costs, from a run in which replicas answered at once."""
    shares = ", ".join(f"{name} {share:.0%}" for name, share in run.cpu.items())
    return (
        f"{scenario.name}, replicas that answer at once, {scenario.rate:.0f} requests/s:"
        f" p50 {run.summary.p50:.1f} ms, p99 {run.summary.p99:.1f} ms, of which the generator was"
        f" late (p99) {run.summary.late:.1f} ms; of one core: {shares}"
    )


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each run; empty where a collapsed run has no number."""
    text = io.StringIO()
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for line in flat for name in line))
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Row) -> dict[str, object]:
    return {
        "scenario": row.scenario,
        "contender": row.contender,
        "repetition": row.repetition,
        **{name: _rounded(value) for name, value in asdict(row.run.summary).items()},
        **{f"cpu_{name}": round(share, 3) for name, share in row.run.cpu.items()},
    }


def as_json(
    machine: Mapping[str, object],
    settings: Mapping[str, object],
    costs: Mapping[str, Run],
    rows: Sequence[Row],
) -> str:
    """Everything but the single requests: machine, settings, costs, runs, what was learned."""
    data = {
        "machine": machine,
        "settings": settings,
        "costs": {name: _run(run) for name, run in costs.items()},
        "runs": [
            {
                "scenario": row.scenario,
                "contender": row.contender,
                "repetition": row.repetition,
                **_run(row.run),
            }
            for row in rows
        ],
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _run(run: Run) -> dict[str, Any]:
    summary = {name: _rounded(value) for name, value in asdict(run.summary).items()}
    cpu = {name: round(share, 3) for name, share in run.cpu.items()}
    return {"summary": summary, "cpu": cpu, "told": run.told}


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return None if isinf(value) else round(value, 3)
    return value
