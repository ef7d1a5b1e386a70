"""The table: each row's scenario, and what is wanted in it with one sidecar and with many."""

from dataclasses import dataclass
from typing import Final

from benchmarks.balance.scenario import MIXED_SPEEDS, Change, Filling, Scenario, Timing

OURS: Final = "plimsoll"
REPORTS: Final = "plimsoll-reports"
"""Plimsoll without metrics, steered by load reports alone."""
ALIKE: Final = "plimsoll-alike"
"""Plimsoll that sends long requests to any replica."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a row asks for; what is not asked for is None or False.

    Attributes:
        p99: Highest ratio to the best peer.
        p50: Likewise.
        still: Envoys are told of no change of weights in the time that counts.
        no_error: No request fails in the time that counts.
        no_out_of_memory: No replica runs out of memory, where with each peer some does.
    """

    p99: float | None = None
    p50: float | None = None
    still: bool = False
    no_error: bool = False
    no_out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        title: As the table calls it.
        scenario: The name of the one that is run.
        one: Wanted with one sidecar.
        many: Wanted with more.
        contender: Who is held to it.
    """

    title: str
    scenario: str
    one: Wanted
    many: Wanted
    contender: str = OURS

    def wanted(self, sidecars: int) -> Wanted:
        """With so many sidecars."""
        return self.one if sidecars == 1 else self.many


SPREAD: Final = tuple(4 ** (n / 11) for n in range(12))
EQUAL: Final = (1.0,) * 8
PAIRED: Final = (2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0)

SCENARIOS: Final = {
    it.name: it
    for it in (
        Scenario("mixed-60", 1, MIXED_SPEEDS, 0.6),
        Scenario("mixed-80", 1, MIXED_SPEEDS, 0.8),
        Scenario("mixed-90", 1, MIXED_SPEEDS, 0.9),
        # Twice the service time, and with four slots four times: else more requests per second
        # would come than elsewhere, and proxies and generator would cost more.
        Scenario("spread-80", 1, SPREAD, 0.8, token_seconds=0.0012),
        Scenario("equal-80", 1, EQUAL, 0.8),
        Scenario(
            "slowed-55", 1, MIXED_SPEEDS, 0.55,
            changes=(Change(12, 1, 10.0), Change(32, 1, 0.1)), timing=Timing(10, 30),
        ),
        Scenario(
            "cold-80", 1, EQUAL, 0.8,
            changes=(Change(0, 7, 5.0), Change(22, 7, 0.2)), joins=12, timing=Timing(10, 20),
        ),
        Scenario(
            "memory-70", 1, EQUAL, 0.7, filling=Filling(1, 12, 24, 0.625), timing=Timing(10, 20),
        ),
        Scenario("slots-80", 1, MIXED_SPEEDS, 0.8, slots=4, token_seconds=0.0024),
        Scenario("shared-80", 1, PAIRED, 0.8, token_seconds=0.0005, gpus=((4, 5), (6, 7))),
    )
}  # fmt: skip

ROWS: Final = (
    Row("2 of speed 4, 6 of 1, 60 %", "mixed-60", Wanted(1.05), Wanted(0.65, 0.55)),
    Row("2 of speed 4, 6 of 1, 80 %", "mixed-80", Wanted(1.05), Wanted(0.65, 0.55)),
    Row("2 of speed 4, 6 of 1, 90 %", "mixed-90", Wanted(1.05), Wanted(0.65, 0.55)),
    Row("speeds from 1 to 4, 80 %", "spread-80", Wanted(1.05), Wanted(0.75)),
    Row("8 equal, 80 %", "equal-80", Wanted(1.02, still=True), Wanted(1.05, still=True)),
    Row("a fast one at a tenth for 20 s, 55 %", "slowed-55", Wanted(1.0), Wanted(0.7)),
    Row(
        "an equal one joins, cold for 10 s, 80 % of eight", "cold-80",
        Wanted(1.0, no_error=True), Wanted(0.8, no_error=True),
    ),
    Row(
        "2 of speed 4, 6 of 1, 80 %, load reports only", "mixed-80", Wanted(1.05), Wanted(0.75),
        contender=REPORTS,
    ),
    Row(
        "2 of speed 4, 6 of 1, 80 %, all lengths alike", "mixed-80", Wanted(), Wanted(),
        contender=ALIKE,
    ),
    Row(
        "GPU memory fills on one of 8 equal, 70 %", "memory-70",
        Wanted(no_out_of_memory=True), Wanted(no_out_of_memory=True),
    ),
    # Two of our own. Servers that batch compute several requests at a time; and small models are
    # often run as two processes on one GPU, where one is slow while the other is busy.
    Row("2 of speed 4, 6 of 1, 4 slots, 80 %", "slots-80", Wanted(1.05), Wanted(0.75)),
    Row("4 with a GPU each, 4 in pairs on two GPUs, 80 %", "shared-80", Wanted(1.05), Wanted(0.75)),
)  # fmt: skip
