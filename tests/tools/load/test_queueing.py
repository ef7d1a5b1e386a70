"""Whether a queue stands or grows."""

import pytest

from controlplane.tools.load.queueing import queue


@pytest.mark.parametrize(
    ("thirds", "expected"),
    [
        ((40, 80, 120), "growing"),
        ((40, 130, 120), "steady"),  # up and down
        ((80, 100, 120), "steady"),  # by less than it varies
        ((1, 5, 10), "steady"),  # nothing to speak of
    ],
)
def test_a_queue_grows_when_it_is_long_and_longer_each_third(
    thirds: tuple[float, ...], expected: str
) -> None:
    assert queue(thirds, capacity=100) == expected
