from __future__ import annotations

import pytest

from embedding_replica.memory import Memory, OutOfMemoryError


def test_weights_and_batches_are_charged() -> None:
    assert Memory(100).load(40).charge(10).used == 50


def test_what_a_batch_leaves_stays_reserved() -> None:
    assert Memory(100).load(40).charge(10).release(10).used == 50


def test_what_is_reserved_is_used_again_before_more_is_taken() -> None:
    memory = Memory(100).load(40).charge(30).release(30)
    assert memory.charge(20).used == 70
    assert memory.charge(20).charge(20).used == 80


def test_a_batch_may_take_all_that_is_left() -> None:
    assert Memory(100).load(40).charge(60).used == 100


def test_a_batch_that_is_a_byte_too_large_does_not_fit() -> None:
    with pytest.raises(OutOfMemoryError, match="61 bytes, 60 of 100 bytes are free"):
        Memory(100).load(40).charge(61)


def test_batches_at_the_same_time_share_what_is_left() -> None:
    with pytest.raises(OutOfMemoryError):
        Memory(100).load(40).charge(40).charge(30)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OutOfMemoryError):
        Memory(100).load(101)
