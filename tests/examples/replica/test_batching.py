from __future__ import annotations

from dataclasses import dataclass

import pytest

from embedding_replica.batching import OverloadedError, Permits, Queue


@dataclass(frozen=True, eq=False)
class Text:
    tokens: int


def batches(queue: Queue[Text]) -> list[list[int]]:
    """The lengths of the texts of each batch, until nothing waits."""
    found = []
    while batch := queue.next_batch():
        found.append([text.tokens for text in batch])
    return found


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([10, 10, 10], [[10, 10, 10]]),
        ([10, 10, 10, 1], [[10, 10, 10], [1]]),
        # Each is padded to the longest: three texts of 12 would be 36 tokens.
        ([9, 9, 12], [[9, 9], [12]]),
        # Nobody overtakes, even where a later text would fit.
        ([16, 16, 1], [[16], [16], [1]]),
        ([100, 1], [[100], [1]]),
    ],
)
def test_a_batch_is_the_longest_run_from_the_front_that_fits(
    lengths: list[int], expected: list[list[int]]
) -> None:
    queue: Queue[Text] = Queue(budget=30)
    queue.append(map(Text, lengths))
    assert batches(queue) == expected


def test_who_leaves_is_in_no_batch() -> None:
    queue: Queue[Text] = Queue(budget=30)
    stays, leaves = Text(1), Text(1)
    queue.append([leaves, stays])
    queue.leave([leaves])
    assert len(queue) == 1
    assert queue.next_batch() == [stays]


def test_who_needs_more_permits_than_are_left_gets_none() -> None:
    permits = Permits(3)
    permits.take(2)
    with pytest.raises(OverloadedError, match="it holds 3 texts at most"):
        permits.take(2)
    permits.take(1)
    permits.give_back(3)
    permits.take(3)
