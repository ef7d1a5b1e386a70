"""When a replica is asked next: spread over the interval, and never all at once."""

import pytest

from controlplane.scraping.scraper import Pace


def test_replicas_that_came_together_are_asked_at_different_times_and_then_at_the_interval() -> (
    None
):
    paces = [Pace(key, 0.0) for key in range(20)]
    first = [pace.wait(1.0, 0.0) for pace in paces]
    assert all(0.5 <= seconds <= 1.5 for seconds in first)
    assert len({round(seconds, 3) for seconds in first}) > 10
    assert paces[0].wait(1.0, first[0]) == pytest.approx(1.0)


def test_a_late_replica_is_asked_once_and_keeps_its_turn() -> None:
    pace = Pace("a", 0.0)
    turn = pace.wait(1.0, 0.0)
    assert pace.wait(1.0, turn + 3.4) == 0.0
    assert pace.wait(1.0, turn + 3.4) == pytest.approx(0.6)
