"""A collapse is what the longest request that is to be expected cannot explain."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from controlplane.balancing import collapse
from tests.balancing.pools import Serving, capacities, played

CAPACITY = 1_000.0


def seconds_until_it_falls(**given: Any) -> float:
    """How long a replica must finish nothing; infinite where a minute is not enough."""
    known = {
        "in_flight": 5.0,
        "ended": 0.0,
        "work": 0.0,
        "seconds": 0.5,
        "capacity": CAPACITY,
        "slots": 1.0,
        "in_flight_length": 100.0,
        "longest": 500.0,
        "full": 0.0,
    } | given
    columns = {name: np.array([value]) for name, value in known.items()}
    shortfall = np.zeros((1, collapse.COLUMNS))
    shortfall[0, collapse.IN_FLIGHT] = known["in_flight"]
    for look in range(1, 121):
        shortfall, fell = collapse.shortfall(shortfall, are_measured=np.array([True]), **columns)
        if fell.any():
            return 0.5 * look
    return np.inf


def test_a_replica_falls_soon_after_the_longest_request_would_have_ended() -> None:
    # Half of its capacity is expected of it, and twice the longest request is explained.
    assert seconds_until_it_falls() == pytest.approx(2.0, abs=0.5)
    assert seconds_until_it_falls(longest=5_000.0) == pytest.approx(20.0, abs=0.5)


def test_little_in_line_is_no_full_batch() -> None:
    full = seconds_until_it_falls(full=500.0)
    assert seconds_until_it_falls(full=500.0, in_flight_length=10.0) > 5 * full


def test_a_replica_that_works_never_falls() -> None:
    assert np.isinf(seconds_until_it_falls(ended=3.0, work=300.0, in_flight=50.0))


def test_a_server_of_small_batches_owes_few_of_them_before_it_has_collapsed() -> None:
    """However many tokens its batches may hold."""
    usual = Serving(slots=None, batch=(500.0, 0.05), latency=0.08, texts=5.0, reported=5.0)
    play = played(dict.fromkeys("abcd", usual))
    before = play.decision
    assert before is not None
    stuck = replace(usual, load=0.005, latency=0.5, reported=100.0)
    after = play.run({"a": stuck, **dict.fromkeys("bcd", usual)}, 3.0)
    assert capacities(after)["a"] < capacities(before)["a"] / 2
