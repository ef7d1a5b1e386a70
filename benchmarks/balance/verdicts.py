"""Whether what was wanted was reached: runs of one row in, findings with a verdict out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from benchmarks.balance.measures import ALL, Run, ratios
from benchmarks.balance.table import NO_ERROR, STILL, Target, Wanted
from benchmarks.figures import Spread

Verdict = Literal["met", "MISSED", "not comparable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was wanted.

    Attributes:
        wanted: In words.
        found: Likewise.
        verdict: ``not comparable`` where no peer was left to compare with.
    """

    wanted: str
    found: str
    verdict: Verdict


def judge(
    wanted: Sequence[Wanted],
    ours: Sequence[Run],
    peers: Mapping[str, Sequence[Run]],
    oracle: Sequence[Run] = (),
) -> list[Finding]:
    """Hold runs to what was wanted.

    Args:
        wanted: In this row.
        ours: One run for each repetition, of which there is one at least.
        peers: The same of each peer, by its title; one at least.
        oracle: The same of who knows everything; empty where it was not run.
    """
    findings = []
    for each in wanted:
        if isinstance(each, Target):
            findings.append(_ratio(each, ours, peers, oracle))
        elif each == STILL:
            findings.append(_stillness(ours))
        elif each == NO_ERROR:
            findings.append(_no_error(ours))
        else:
            findings.append(_no_out_of_memory(ours, peers))
    return findings


def overall(findings: Sequence[Finding]) -> Verdict:
    """Of a row: met only when everything is."""
    verdicts = {finding.verdict for finding in findings}
    if "MISSED" in verdicts:
        return "MISSED"
    return "not comparable" if "not comparable" in verdicts else "met"


def times(ratio: Spread) -> str:
    """A ratio with its range."""
    text = f"{ratio.middle:.2f} ×"
    return text if ratio.low == ratio.high else f"{text} ({ratio.low:.2f}–{ratio.high:.2f})"


def _ratio(
    target: Target,
    ours: Sequence[Run],
    peers: Mapping[str, Sequence[Run]],
    oracle: Sequence[Run],
) -> Finding:
    asked = f"{target.kind} {target.quantile} ≤ {target.most:g} × the best peer's"
    values = _values(target, ours)
    if inf in values:
        return Finding(asked, "ours collapsed, or failed too often", "MISSED")
    compared = ratios(values, [_values(target, runs) for runs in peers.values()])
    if compared is None:
        return Finding(asked, "every peer collapsed, or was disturbed", "not comparable")
    found = f"{times(compared.ratio)} that of {list(peers)[compared.peer]}"
    if compared.repetitions < len(ours):
        found += f", {len(ours) - compared.repetitions} disturbed"
    if oracle and (gap := ratios(values, [_values(target, oracle)])) is not None:
        found += f"; {times(gap.ratio)} the oracle's"
    return Finding(asked, found, "met" if compared.ratio.middle <= target.most else "MISSED")


def _values(target: Target, runs: Sequence[Run]) -> list[float | None]:
    """Of a disturbed run None: it says more of the machine than of who ran."""
    return [
        None if run.summary.is_disturbed
        else getattr(run.summary.latency[target.kind], target.quantile)
        for run in runs
    ]  # fmt: skip


def _stillness(ours: Sequence[Run]) -> Finding:
    changes = [run.changes for run in ours]
    said = ", ".join("collapsed" if count is None else str(count) for count in changes)
    still = all(count == 0 for count in changes)
    return Finding("no weight change", f"{said} in each run", "met" if still else "MISSED")


def _no_error(ours: Sequence[Run]) -> Finding:
    failed = sum(run.summary.latency[ALL].failed for run in ours)
    cut = any(run.summary.cut_at is not None for run in ours)
    found = "collapsed" if cut else f"{failed} failed requests"
    return Finding("no error", found, "MISSED" if cut or failed else "met")


def _no_out_of_memory(ours: Sequence[Run], peers: Mapping[str, Sequence[Run]]) -> Finding:
    mine = sum(run.out_of_memory for run in ours)
    theirs = {name: sum(run.out_of_memory for run in runs) for name, runs in peers.items()}
    without = [name for name, count in theirs.items() if not count]
    found = f"{mine}, peers {min(theirs.values())}–{max(theirs.values())}"
    asked = "no out-of-memory error where each peer has some"
    if mine:
        return Finding(asked, found, "MISSED")
    if without:
        said = f"{found}; none either with {', '.join(without)}"
        return Finding(asked, said, "not comparable")
    return Finding(asked, found, "met")
