"""Runs as files to keep: CSV and JSON. Pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isinf
from typing import Any

from benchmarks.balance.contenders import BY_NAME
from benchmarks.balance.journal import Entry, Opening
from benchmarks.balance.report import Judged


def as_csv(entries: Sequence[Entry]) -> str:
    """A line for each run; empty where a collapsed run has no number."""
    text = io.StringIO()
    flat = [_flat(entry) for entry in entries]
    names = list(dict.fromkeys(name for line in flat for name in line))
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(entry: Entry) -> dict[str, object]:
    run = entry.run
    summary = asdict(run.summary)
    latency = summary.pop("latency")
    return {
        **asdict(entry.key),
        **{name: _rounded(value) for name, value in summary.items()},
        **{
            f"{kind}_{name}": _rounded(value)
            for kind, each in latency.items()
            for name, value in each.items()
        },
        "changes": run.changes,
        **({} if run.work is None else _rounded(asdict(run.work))),
        "out_of_memory": run.out_of_memory,
        **{f"cpu_{name}": round(share, 3) for name, share in run.cpu.items()},
    }


def as_json(opening: Opening, rows: Sequence[Judged], entries: Sequence[Entry]) -> str:
    """Everything but the single requests: machine, costs, settings, verdicts, runs."""
    data = {
        **asdict(opening),
        "contenders": {name: item.settings for name, item in BY_NAME.items()},
        "rows": [_row(row) for row in rows],
        "runs": [{**asdict(entry.key), **_run(entry)} for entry in entries],
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _row(row: Judged) -> Mapping[str, Any]:
    return {
        "title": row.row.title,
        "scenario": row.row.scenario,
        "sidecars": row.row.sidecars,
        "repetitions": row.repetitions,
        "verdict": row.verdict,
        "findings": [asdict(finding) for finding in row.findings],
    }


def _run(entry: Entry) -> dict[str, Any]:
    run = entry.run
    return {
        "summary": _rounded(asdict(run.summary)),
        "cpu": {name: round(share, 3) for name, share in run.cpu.items()},
        "busiest": round(run.busiest, 3),
        "changes": run.changes,
        "work": None if run.work is None else _rounded(asdict(run.work)),
        "out_of_memory": run.out_of_memory,
        "told": run.told,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        return None if isinf(value) else round(value, 3)
    return value
