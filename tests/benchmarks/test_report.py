import json
from math import inf

from benchmarks.balance.measures import Summary
from benchmarks.balance.report import Row, as_csv, as_json, table
from benchmarks.balance.run import Run
from benchmarks.balance.scenario import Scenario

SCENARIO = Scenario("1 sidecar", sidecars=1, speeds=(4.0, 1.0), load=0.8)


def row(contender: str, repetition: int, p99: float) -> Row:
    cut = p99 == inf
    summary = Summary(
        verdict="collapsed" if cut else "steady",
        cut_at=12.0 if cut else None,
        requests=1000,
        failed=0,
        p50=p99 / 10,
        p99=p99,
        late=1.0,
        waiting=p99 / 10,
        fast=0.5,
    )
    return Row("1 sidecar", contender, repetition, Run(summary, {"generator": 0.1}, {}))


ROWS = [
    row("Envoy round robin", 1, inf),
    row("Envoy least-request FULL_SCAN", 1, 400),
    row("Plimsoll", 1, 200),
    row("Envoy round robin", 2, 900),
    row("Envoy least-request FULL_SCAN", 2, 500),
    row("Plimsoll", 2, 300),
]


def test_a_table_has_medians_and_ranges() -> None:
    assert "| Plimsoll | 25 (20–30) | 250 (200–300) |" in table(SCENARIO, ROWS)


def test_a_table_says_who_collapsed() -> None:
    lines = table(SCENARIO, ROWS).splitlines()
    found = next(line for line in lines if line.startswith("| Envoy round robin"))
    assert found.startswith("| Envoy round robin | – | – | – |")
    assert found.endswith("collapsed 1 of 2, steady 1 of 2, cut after 12 s |")


def test_a_table_compares_with_the_best_peer() -> None:
    assert (
        "Plimsoll's p99 is 0.55 × (0.50–0.60) that of Envoy least-request FULL_SCAN, the best peer."
    ) in table(SCENARIO, ROWS)


def test_files_leave_out_what_a_collapsed_run_does_not_have() -> None:
    assert as_csv(ROWS).splitlines()[1].startswith("1 sidecar,Envoy round robin,1,collapsed,12.0,")
    runs = json.loads(as_json({}, {}, {}, ROWS))["runs"]
    assert [run["summary"]["p99"] for run in runs] == [None, 400, 200, 900, 500, 300]
