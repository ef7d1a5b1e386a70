"""What is seen on a terminal."""

from io import StringIO

import pytest
from rich.console import Console

from controlplane.api.schema import ReplicaInShort
from controlplane.tools.demo.screen import Row, Scene, headline, render, speeds
from controlplane.tools.demo.traffic import Phase

KNOWN = ReplicaInShort(
    id="b",
    address="127.0.0.1:9001",
    state="ready",
    capacity=40.2,
    p99_ms=71.4,
    memory=0.38,
    tier="tier-8",
    weight=1000,
)


def scene(phase: Phase, reported: ReplicaInShort | None = KNOWN) -> Scene:
    rows = [Row("a", 1.0, reported, 0.9), Row("b", 0.1, reported, 0.1)]
    return Scene(phase, 3.2, 20.0, 100, 0, 0.03, 0.2, rows)


def drawn(shown: Scene) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(render(shown))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_row_says_everything_of_its_replica() -> None:
    row = next(line for line in drawn(scene(Phase.SLOWED)).splitlines() if " b " in line)
    for cell in ("0.1×", "40/s", "71 ms", "38%", "tier-8", "1000", "10% ██ "):
        assert f" {cell}" in row


def test_what_is_unknown_stays_empty() -> None:
    assert "None" not in drawn(scene(Phase.UNDISTURBED, None))


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        (Phase.UNDISTURBED, "the replicas are undisturbed"),
        (Phase.SLOWED, "replica b was slowed to 0.1× 3 s ago; it gets 10% of the requests"),
        (Phase.RESTORED, "replica b has had its speed back for 3 s; it gets 10% of the requests"),
        (Phase.OVER, "the last answers"),
    ],
)
def test_the_line_below_says_what_is_happening(phase: Phase, said: str) -> None:
    assert headline(scene(phase)).startswith(said)
    assert said in drawn(scene(phase))


def test_nothing_is_claimed_before_anything_is_measured() -> None:
    assert "get the same until" in headline(scene(Phase.UNDISTURBED, None))


def test_only_the_slowed_phase_changes_a_speed() -> None:
    given = {"a": 1.0, "b": 1.0}
    assert speeds(given, Phase.SLOWED) == {"a": 1.0, "b": 0.1}
    assert speeds(given, Phase.RESTORED) == given
