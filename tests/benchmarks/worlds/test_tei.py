"""text-embeddings-inference as its source has it."""

import pytest

from benchmarks.worlds.server import OVERLOADED, TAKEN, Curve
from benchmarks.worlds.tei import Limits, Tei
from controlplane.telemetry import Reading
from tests.benchmarks.worlds.played import Played, reading, samples


def played(*, tokens: int = 100, permits: int = 512, prefetches: bool = True) -> Played:
    limits = Limits(tokens, None, permits, prefetches)
    return Played(lambda call_at: Tei(Curve(1.0, 0.01), limits, call_at))


def exposed(tei: Played) -> dict[str, float]:
    return samples(tei.server.exposition(tei.clock.now))


def seen(tei: Played) -> Reading:
    return reading(tei.server, "tei")


def test_nothing_is_exposed_before_the_first_request() -> None:
    tei = played()
    assert tei.server.exposition(0.0) == ""
    tei.admit(5)
    assert "te_request_count" in tei.server.exposition(0.0)


def test_a_request_ends_when_its_last_text_does() -> None:
    tei = played()
    tei.admit(60, 30, 30)
    tei.clock.wind(99)
    assert tei.computed == [90, 30]
    assert tei.answers == {0: pytest.approx(1.9 + 1.3)}


def test_each_text_is_billed_its_whole_batch() -> None:
    tei = played()
    tei.admit(*[5] * 20)
    tei.clock.wind(99)
    found = exposed(tei)
    assert found["te_embed_inference_duration_count"] == 20
    assert found["te_embed_inference_duration_sum"] == pytest.approx(20 * 2.0)
    assert found["te_request_inference_duration_sum"] == pytest.approx(2.0)


def test_a_text_that_waits_for_a_batch_says_so() -> None:
    tei = played(prefetches=False)
    tei.admit(100)
    tei.clock.wind(0.5)
    tei.admit(50, name=1)
    assert (seen(tei).queue, exposed(tei)["te_queue_size"]) == (1, 1)
    tei.clock.wind(99)
    assert exposed(tei)["te_embed_queue_duration_sum"] == pytest.approx(1.5)
    assert exposed(tei)["te_request_duration_sum"] == pytest.approx(2.0 + 3.0)


def test_texts_are_the_unit_of_permits_and_too_many_are_refused_at_once() -> None:
    tei = played(permits=10)
    assert tei.admit(*[1] * 8) == TAKEN
    assert tei.admit(1, 1, 1, name=1) == OVERLOADED
    assert tei.admit(1, 1, name=2) == TAKEN
    tei.clock.wind(99)
    assert tei.admit(*[1] * 10, name=3) == TAKEN
    assert tei.answers.keys() == {0, 2}
    assert seen(tei).errors == 1
    assert exposed(tei)['te_request_failure{err="overloaded"}'] == 1
    assert exposed(tei)['te_request_count{method="batch"}'] == 4


def test_a_batch_is_put_together_while_the_one_before_is_computed() -> None:
    ahead, behind = played(), played(prefetches=False)
    for tei in (ahead, behind):
        tei.admit(10)
        for name, at in enumerate((0.2, 0.4, 0.6), 1):
            tei.clock.wind(at)
            tei.admit(10, name=name)
        tei.clock.wind(99)
    # The second is on its own, as it was the first to come, and the others wait for it as well.
    assert ahead.computed == [10, 10, 20]
    assert behind.computed == [10, 30]


def test_texts_in_the_batch_that_was_put_together_ahead_do_not_count_as_queued() -> None:
    tei = played()
    for name in range(3):
        tei.admit(10, name=name)
    assert seen(tei).queue == 1


@pytest.mark.parametrize("prefetches", [True, False])
def test_each_time_that_the_queue_is_found_empty_counts_as_an_empty_batch(
    prefetches: bool,  # noqa: FBT001 - a parameter of a test
) -> None:
    tei = played(prefetches=prefetches)
    for name in range(4):
        tei.admit(10, name=name)
        tei.clock.wind(tei.clock.now + 9)
    found = exposed(tei)
    assert found["te_batch_next_tokens_count"] == 8
    assert found['te_batch_next_tokens_bucket{le="1"}'] == 4
    assert found["te_batch_next_tokens_sum"] == 40
    assert found['te_batch_next_size_bucket{le="1"}'] == 8


def test_a_request_of_several_texts_wakes_the_batching_task_once_more_than_needed() -> None:
    tei = played()
    tei.admit(10, 10)
    tei.clock.wind(9)
    assert exposed(tei)['te_batch_next_tokens_bucket{le="1"}'] == 2


def test_a_batch_has_so_many_texts_at_most() -> None:
    tei = Played(lambda call_at: Tei(Curve(1.0, 0.01), Limits(100, 2, prefetches=False), call_at))
    tei.admit(*[10] * 5)
    tei.clock.wind(99)
    assert tei.computed == [20, 20, 10]


def test_a_text_is_cut_to_what_a_batch_takes() -> None:
    tei = played()
    tei.admit(300)
    tei.clock.wind(99)
    assert tei.computed == [100]
