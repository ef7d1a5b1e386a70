"""Slots in, ratios out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.figures import number, spread, times

SIZES: Final = {"1 KB": 1_000, "200 KB": 200_000}
"""Bytes of a request."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One way under load for some seconds.

    Attributes:
        way: Its name.
        size: Of its requests, among `SIZES`.
        round: In which every way has a slot.
        p50, p99: Milliseconds.
        cpu: Milliseconds of CPU that its Envoys took for a request.
        requests: That were answered.
        failed: That were not.
    """

    way: str
    size: str
    round: int
    p50: float
    p99: float
    cpu: float
    requests: int
    failed: int


def table(slots: Sequence[Slot], ways: dict[str, str], base: str) -> str:
    """What each way takes, and in ratios to another what it takes more, round by round."""
    lines = [
        "| requests of | way | p50 ms | p99 ms | CPU ms | p50 | p99 | CPU | failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for way, words in ways.items():
            own = [slot for slot in slots if (slot.size, slot.way) == (size, way)]
            cells = [number(median([getattr(item, key) for item in own])) for key in _MEASURES]
            ratios = [times(spread(_ratios(slots, size, way, base, key))) for key in _MEASURES]
            failed = sum(each.failed for each in own)
            lines.append(f"| {size} | {' | '.join([words, *cells, *ratios])} | {failed} |")
    return "\n".join(lines)


_MEASURES: Final = ("p50", "p99", "cpu")


def _ratios(slots: Sequence[Slot], size: str, way: str, base: str, key: str) -> list[float]:
    """By round: whatever disturbs the machine for a while disturbs both."""
    found = {
        (slot.way, slot.round): float(getattr(slot, key)) for slot in slots if slot.size == size
    }
    rounds = sorted({number for _, number in found})
    # CPU is counted in steps of 10 ms; a slot so short that none was seen says nothing.
    return [found[way, item] / max(found[base, item], 1e-6) for item in rounds]
