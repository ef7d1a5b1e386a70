import json
from dataclasses import replace
from math import inf

from benchmarks.balance.files import as_csv, as_json
from benchmarks.balance.journal import Opening
from benchmarks.balance.report import judged, missing, overview, table
from benchmarks.balance.table import ROWS
from tests.benchmarks.balance_runs import entry, run_of

OPENING = Opening({}, 1, 1.0, (), {})
ROW = next(row for row in ROWS if (row.scenario, row.sidecars) == ("mixed-80", 12))

ENTRIES = [
    entry("round-robin", 1, run_of(inf, changes=None)),
    entry("full-scan", 1, run_of(400)),
    entry("plimsoll", 1, run_of(200)),
    entry("round-robin", 2, run_of(900)),
    entry("full-scan", 2, run_of(500)),
    entry("plimsoll", 2, run_of(300)),
]


def test_a_table_has_medians_and_ranges() -> None:
    assert (
        "| Plimsoll | 25 (20–30) | 250 (200–300) | 20000 (20000–20000) | 1.25 (1.25–1.25) |"
        in table(ROW.cell, ENTRIES)
    )


def test_a_table_has_columns_for_each_class() -> None:
    cell = next(row.cell for row in ROWS if row.scenario == "classes-70")
    entries = [entry("plimsoll", 1, run_of(200), "classes-70", cell.sidecars)]
    lines = table(cell, entries).splitlines()
    assert lines[2].startswith("| contender | search p50 | search p99 | bulk p50 | bulk p99 |")
    assert lines[4].startswith("| Plimsoll | 20 | 200 | 200 | 2000 | 20 | 200 |")


def test_a_table_says_who_collapsed() -> None:
    lines = table(ROW.cell, ENTRIES).splitlines()
    found = next(line for line in lines if line.startswith("| Envoy round robin"))
    assert found.startswith("| Envoy round robin | – | – | – | – |")
    assert found.endswith("collapsed 1 of 2, steady 1 of 2, cut after 12 s |")


def test_a_table_has_runs_of_its_number_of_sidecars_only() -> None:
    assert "Plimsoll" not in table(replace(ROW.cell, sidecars=1), ENTRIES)


def test_the_overview_says_plainly_what_was_missed() -> None:
    text = overview([judged(ROW, ENTRIES)])
    assert (
        "| 2 | all p99 ≤ 0.4 × the best peer's | 0.55 × (0.50–0.60) that of"
        " Envoy least-request FULL_SCAN | **MISSED** |"
    ) in text
    slower = [entry("plimsoll", n, run_of(1000)) for n in (1, 2)]
    text = overview([judged(ROW, [*ENTRIES[:2], *ENTRIES[3:5], *slower])])
    assert text.count("**MISSED**") == 2
    assert "Of 1 rows: MISSED 1." in text


def test_a_row_that_was_not_run_has_no_verdict() -> None:
    row = judged(replace(ROW, sidecars=1), ENTRIES)
    assert row.verdict is None
    assert "not run" in overview([row])


def test_load_reports_are_compared_with_peers_and_not_with_metrics() -> None:
    row = next(row for row in ROWS if row.contender == "plimsoll-reports" and row.sidecars == 12)
    ours = [entry("plimsoll-reports", n, run_of(390)) for n in (1, 2)]
    found = judged(row, [*ENTRIES, *ours]).findings[0]
    assert found.found.endswith("that of Envoy least-request FULL_SCAN")


def test_what_is_missing_is_said() -> None:
    assert missing({"a": 2, "b": 2}, 2) == ""
    assert missing({"a": 2, "b": 1, "c": 0}, 2) == (
        "Missing: of 2 repetitions each there are only, of b 1; c 0."
    )


def test_files_leave_out_what_a_collapsed_run_does_not_have() -> None:
    line = as_csv(ENTRIES).splitlines()[1]
    assert line.startswith("mixed-80,12,round-robin,1,collapsed,12.0,1.0,,0,0,1000,0,,,1000,0,,,")
    data = json.loads(as_json(OPENING, [judged(ROW, ENTRIES)], ENTRIES))
    assert [run["summary"]["latency"]["all"]["p99"] for run in data["runs"]] == [
        None,
        400,
        200,
        900,
        500,
        300,
    ]
    assert data["rows"][0]["verdict"] == "MISSED"
