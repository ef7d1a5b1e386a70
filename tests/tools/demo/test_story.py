"""What happens when."""

from itertools import islice

import pytest

from controlplane.tools.demo.traffic import Act, Phase, Span, acts, after, before, undisturbed


def test_a_replica_is_slowed_at_35_percent_and_brought_back_at_60() -> None:
    assert list(acts(60)) == [
        Act(0, Phase.UNDISTURBED),
        Act(21, Phase.SLOWED),
        Act(36, Phase.RESTORED),
        Act(60, Phase.OVER),
    ]


def test_without_an_end_the_round_begins_again() -> None:
    assert list(islice(acts(0), 3, 6)) == [
        Act(60, Phase.UNDISTURBED),
        Act(81, Phase.SLOWED),
        Act(96, Phase.RESTORED),
    ]


@pytest.mark.parametrize("seconds", [8, 30, 60])
def test_what_is_compared_lies_within_its_phase(seconds: float) -> None:
    _, slowed, restored, _ = acts(seconds)
    assert undisturbed(seconds) == Span(0, slowed.at)
    assert 0 < before(seconds).since < before(seconds).until == slowed.at
    assert slowed.at < after(seconds).since < after(seconds).until == restored.at
