"""What vLLM, Triton and Infinity each do in their own way."""

import pytest

from benchmarks.worlds import infinity, triton, vllm
from benchmarks.worlds.server import OVERLOADED, TAKEN
from tests.benchmarks.worlds.played import CURVE, Played, reading, samples


def test_vllm_computes_a_long_text_in_parts_and_others_beside_its_last_one() -> None:
    played = Played(lambda call_at: vllm.Vllm(CURVE, vllm.Limits(100), call_at))
    played.admit(250)
    played.admit(30, name=1)
    played.clock.wind(99)
    assert played.computed == [100, 100, 80]
    assert played.answers == {0: pytest.approx(5.8), 1: pytest.approx(5.8)}


def test_vllm_leaves_an_encoders_text_for_a_step_that_has_room_for_all_of_it() -> None:
    limits = vllm.Limits(100, chunks=False)
    played = Played(lambda call_at: vllm.Vllm(CURVE, limits, call_at))
    played.admit(80, 80)
    played.clock.wind(99)
    assert played.computed == [80, 80]


def test_vllm_counts_texts_and_its_gauges_are_as_old_as_the_last_step() -> None:
    played = Played(lambda call_at: vllm.Vllm(CURVE, vllm.Limits(100), call_at))
    played.admit(*[50] * 5)
    before = reading(played.server, "vllm")
    played.clock.wind(2.5)
    after = reading(played.server, "vllm")
    assert (before.queue, before.running, before.tokens) == (0, 0, 0)
    assert (after.queue, after.running, after.tokens) == (3, 0, 100)
    assert after.latency is not None
    assert after.latency.count == 2


def test_vllm_counts_a_texts_tokens_in_the_step_in_which_it_is_done() -> None:
    played = Played(lambda call_at: vllm.Vllm(CURVE, vllm.Limits(100), call_at))
    played.admit(250)
    played.clock.wind(99)
    found = samples(played.server.exposition(0.0))
    labels = '{engine="0",model_name="m"}'
    assert found[f"vllm:iteration_tokens_total_count{labels}"] == 1
    assert found[f"vllm:iteration_tokens_total_sum{labels}"] == 250


def waiting(preferred: tuple[int, ...], delay: float) -> Played:
    return Played(lambda call_at: triton.Triton(CURVE, triton.Limits(8, preferred, delay), call_at))


def test_triton_waits_for_a_preferred_size_and_no_longer_than_its_delay() -> None:
    played = waiting((2, 4), 0.5)
    played.admit(10)
    played.clock.wind(0.2)
    played.admit(10, name=1)
    played.clock.wind(9)
    assert played.computed == [20]
    assert played.answers == {0: pytest.approx(1.4), 1: pytest.approx(1.4)}
    played.admit(10, name=2)
    played.clock.wind(99)
    assert played.answers[2] == pytest.approx(9 + 0.5 + 1.1)


def test_triton_takes_the_largest_preferred_size_that_whole_requests_come_to() -> None:
    played = waiting((2, 4), 0.5)
    for name, texts in enumerate((2, 1, 1, 1, 1)):
        played.admit(*[10] * texts, name=name)
    played.clock.wind(99)
    assert played.computed == [20, 40]


def test_triton_prefers_less_than_a_preferred_size_to_more_than_the_largest() -> None:
    played = waiting((2, 4), 5.0)
    for name, texts in enumerate((2, 3, 3)):
        played.admit(*[10] * texts, name=name)
    played.clock.wind(1.25)
    played.admit(10, name=3)
    played.clock.wind(99)
    assert played.computed == [20, 30, 40]


def test_triton_bills_each_request_its_whole_batch_in_microseconds() -> None:
    played = waiting((), 0.0)
    played.admit(10)
    for name in (1, 2):
        played.admit(10, 10, name=name)
    played.clock.wind(99)
    found = samples(played.server.exposition(0.0))
    labels = '{model="m",version="1"}'
    assert found[f"nv_inference_compute_infer_duration_us{labels}"] == 1_100_000 + 2 * 1_400_000
    assert found[f"nv_inference_count{labels}"] == 5
    assert found[f"nv_inference_exec_count{labels}"] == 2
    assert reading(played.server, "triton").queue == 0


def test_a_request_that_is_too_large_for_triton_is_sent_as_several() -> None:
    played = waiting((), 0.0)
    played.admit(*[10] * 20)
    played.clock.wind(99)
    assert played.computed == [80, 80, 40]
    labels = '{model="m",version="1"}'
    found = samples(played.server.exposition(0.0))
    assert found[f"nv_inference_request_success{labels}"] == 3


def test_an_ensemble_counts_each_step_and_the_whole() -> None:
    limits = triton.Limits(8, ensemble=True)
    played = Played(lambda call_at: triton.Triton(CURVE, limits, call_at))
    played.admit(10)
    played.clock.wind(9)
    found = samples(played.server.exposition(0.0))
    counts = [
        found[f'nv_inference_request_success{{model="{model}",version="1"}}']
        for model in ("m", "tokenizer", "ensemble")
    ]
    assert counts == [1, 1, 1]


def test_infinity_pads_to_the_longest_and_sorts_where_many_wait() -> None:
    played = Played(lambda call_at: infinity.Infinity(CURVE, infinity.Limits(2), call_at))
    played.admit(100, 1, 100, 1)
    played.clock.wind(99)
    assert played.computed == [2 * 1, 2 * 100]


def test_infinity_puts_several_batches_together_ahead() -> None:
    played = Played(lambda call_at: infinity.Infinity(CURVE, infinity.Limits(32), call_at))
    for name in range(9):
        played.clock.wind(name / 100)
        played.admit(10, name=name)
    played.clock.wind(99)
    # Five were batches before they could be joined with those that came after them.
    assert played.computed == [10] * 6 + [30]


def test_infinity_refuses_requests_when_too_many_texts_wait() -> None:
    played = Played(lambda call_at: infinity.Infinity(CURVE, infinity.Limits(1, 3), call_at))
    took = [played.admit(1, 1, 1, 1, name=name) for name in range(6)]
    assert took[0] == TAKEN
    assert took[-1] == OVERLOADED
