"""The table: each row's scenario, and what is wanted in it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.balance.cell import Cell
from benchmarks.worlds.scenarios import SCENARIOS

OURS: Final = "plimsoll"
ORACLE: Final = "oracle"
"""Who knows sizes and capacities: shown beside the others, and nobody's peer."""
GATEWAY: Final = "oracle-gateway"
"""The same with one Envoy for all bulk requests."""
THROUGH: Final = "plimsoll-gateway"
"""Plimsoll, told to send bulk requests through one more Envoy."""
REPORTS: Final = "plimsoll-reports"
"""Plimsoll without metrics, steered by load reports alone."""

STILL: Final = "no weight change"
NO_ERROR: Final = "no error"
NO_OUT_OF_MEMORY: Final = "no out-of-memory error"


@dataclass(frozen=True, slots=True)
class Target:
    """A latency as a ratio to the best peer's.

    Attributes:
        kind: The class of requests, or ``all``.
        quantile: Which latency.
        most: The highest ratio.
    """

    kind: str
    quantile: Literal["p50", "p99"]
    most: float


Wanted = Target | str
"""A ratio; or `STILL`: Envoys are told of no change of weights in the time that counts; `NO_ERROR`:
no request fails in it; `NO_OUT_OF_MEMORY`: no replica runs out of memory, where with each peer some
does."""


def wanted(text: str) -> Iterator[Wanted]:
    """What a row asks for, as in ``search p99 <= 0.10, no error``."""
    for part in text.split(", "):
        if part in {STILL, NO_ERROR, NO_OUT_OF_MEMORY}:
            yield part
            continue
        found = re.fullmatch(r"(\w+) (p50|p99) <= ([\d.]+)", part)
        if found is None:
            raise ValueError(f"{part!r} is nothing that can be asked for")
        kind, quantile, most = found.groups()
        yield Target(kind, "p50" if quantile == "p50" else "p99", float(most))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        title: As the table calls it.
        scenario: The name of the one that is run.
        sidecars: How many.
        text: What is wanted.
        contender: Who is held to it.
    """

    title: str
    scenario: str
    sidecars: int
    text: str
    contender: str = OURS

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What is wanted."""
        return tuple(wanted(self.text))

    @property
    def cell(self) -> Cell:
        """What is run."""
        return Cell(SCENARIOS[self.scenario], self.sidecars)


def _slots(title: str, scenario: str, one: str, many: str, contender: str = OURS) -> Iterator[Row]:
    """Two rows of the first table; what is wanted is what was measured before, and 5 % more."""
    yield Row(title, scenario, 1, one, contender)
    yield Row(title, scenario, 12, many, contender)


_MIXED: Final = "searches and bulk 90/10, batching"

ROWS: Final = (
    Row(f"{_MIXED}, 2 of speed 4, 6 of 1, 70 %", "classes-70", 12,
        "search p99 <= 0.10, bulk p99 <= 1.0"),
    Row("the same, bulk through a gateway", "classes-70", 12,
        "search p99 <= 0.10, bulk p99 <= 0.55", THROUGH),
    Row("the same", "classes-70", 1, "search p99 <= 0.20, bulk p99 <= 1.0"),
    Row("the same, 40 %", "classes-40", 12, "search p99 <= 0.10, bulk p99 <= 0.7"),
    Row("the same, 85 %", "classes-85", 12, "search p99 <= 0.25, bulk p99 <= 1.2"),
    Row("the same, 95 %", "classes-95", 12, "search p99 <= 1.05, bulk p99 <= 1.3"),
    Row(f"{_MIXED}, 8 equal", "classes-equal-70", 12, "search p99 <= 0.12, bulk p99 <= 1.3"),
    Row(f"{_MIXED}, four speeds", "classes-speeds-70", 12,
        "search p99 <= 0.10, bulk p99 <= 0.8"),
    Row(f"{_MIXED}, 3 equal", "classes-equal3-70", 12, "search p99 <= 1.05, bulk p99 <= 1.05"),
    Row("searches and bulk 90/10, two slots", "classes-slots-70", 12,
        "search p99 <= 0.10, bulk p99 <= 1.0"),
    Row("the same, GPU-like: 8 ms, 16k tokens", "classes-gpu-70", 12,
        "search p99 <= 0.30, bulk p99 <= 1.15"),
    Row("a bulk job starts from idle", "bulk-job-70", 12, "search p99 <= 0.35, bulk p99 <= 1.2"),
    Row("a burst to 95 % for 30 s", "burst-70", 12, "search p99 <= 0.25, bulk p99 <= 1.5"),
    Row("searches come 4 times as often", "searches-70", 12,
        "search p99 <= 0.35, bulk p99 <= 1.1"),
    Row("batching, lognormal 1, 80 %", "batching-80", 12, "all p99 <= 0.5, all p50 <= 0.9"),
    Row("the same", "batching-80", 1, "all p99 <= 0.95, all p50 <= 1.0"),
    Row("batching, lognormal 2, 70 %", "batching-heavy-70", 12, "all p99 <= 0.75"),
    Row("batching, a fast one at a tenth for 20 s", "batching-slowed-55", 12, "all p99 <= 0.5"),
    Row("batching, a fast one clocks down to a half", "batching-clocks-60", 12, "all p99 <= 0.7"),
    Row("batching, an equal one joins, cold", "batching-cold-80", 12, "all p99 <= 0.8, no error"),
    Row("batching, memory fills on one of 8", "batching-memory-70", 12, NO_OUT_OF_MEMORY),
    *_slots("slots, 60 %", "mixed-60", "all p99 <= 0.66", "all p99 <= 0.42, all p50 <= 1.32"),
    *_slots("slots, 80 %", "mixed-80", "all p99 <= 0.74", "all p99 <= 0.40, all p50 <= 1.00"),
    *_slots("slots, 90 %", "mixed-90", "all p99 <= 0.90", "all p99 <= 0.39, all p50 <= 0.80"),
    *_slots("slots, speeds from 1 to 4", "spread-80", "all p99 <= 1.01", "all p99 <= 0.60"),
    *_slots("slots, 8 equal", "equal-80",
            "all p99 <= 1.07, no weight change", "all p99 <= 1.12, no weight change"),
    *_slots("slots, a fast one at a tenth for 20 s", "slowed-55",
            "all p99 <= 0.97", "all p99 <= 0.38"),
    *_slots("slots, an equal one joins, cold for 10 s", "cold-80",
            "all p99 <= 1.05, no error", "all p99 <= 0.58, no error"),
    *_slots("slots, load reports only", "mixed-80",
            "all p99 <= 1.05", "all p99 <= 0.57", contender=REPORTS),
    *_slots("slots, memory fills on one of 8", "memory-70", NO_OUT_OF_MEMORY, NO_OUT_OF_MEMORY),
    *_slots("four slots each", "slots-80", "all p99 <= 0.56", "all p99 <= 0.40"),
    *_slots("slots, 4 with a GPU each, 4 in pairs on two", "shared-80",
            "all p99 <= 1.05", "all p99 <= 0.70"),
)  # fmt: skip

QUICK: Final = (
    ("classes-70", 12),
    ("classes-70", 1),
    ("batching-80", 12),
    ("classes-equal-70", 12),
    ("mixed-80", 12),
)
"""The rows that matter most: their scenarios and sidecars."""
