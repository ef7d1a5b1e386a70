"""What is read of the batches that a server computed, and what is told apart from idleness."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import LatencyFamily, MetricsSettings, QueueFamily
from controlplane.telemetry import (
    PROFILES,
    Batches,
    BatchTotals,
    History,
    Reading,
    Window,
    profile_of,
    read,
)
from tests.telemetry.texts import TEI, histogram, tei

EXPOSITIONS = Path(__file__).parent / "expositions"
BOUNDS = [2**power for power in range(21)]
"""Of te_batch_next_tokens: router/src/prometheus.rs."""


def batches(tokens: Sequence[int], texts: int = 1, seconds: float = 0.05, polls: int = 0) -> str:
    """What text-embeddings-inference says after batches of so many tokens.

    Args:
        tokens: Of each batch.
        texts: In each batch.
        seconds: That each took.
        polls: Looks at an empty queue.
    """
    sizes = [*tokens, *[0] * polls]
    counts = {str(bound): sum(size <= bound for size in sizes) for bound in BOUNDS}
    number = len(tokens) * texts
    return tei(number, seconds) + histogram(
        counts | {"+Inf": len(sizes)}, sum(tokens), "te_batch_next_tokens"
    ) + (
        f"te_embed_inference_duration_sum {number * seconds}\n"
        f"te_embed_inference_duration_count {number}\n"
    )  # fmt: skip


def windows(texts: Iterable[str], every: float = 0.5) -> list[Window]:
    history = History()
    return [history.add(read(text, TEI, at * every)) for at, text in enumerate(texts)]


def computed(texts: Iterable[str]) -> Batches:
    found = windows(texts)[-1].batches
    assert found is not None
    return found


def test_a_window_has_the_batches_of_its_time_with_their_tokens_texts_and_seconds() -> None:
    sizes = [100] * 30
    done = computed(batches(sizes[:number], texts=4, seconds=0.2) for number in (10, 20, 30))
    assert (done.count, done.tokens, done.texts, done.billed) == (20, 2000, 80, 80)
    assert done.seconds == pytest.approx(80 * 0.2)


def test_batches_of_one_size_have_the_squares_of_that_size() -> None:
    done = computed([batches([]), batches([100] * 20)])
    assert done.squares == pytest.approx(20 * 100**2)


def test_the_squares_of_unlike_batches_are_near_the_truth() -> None:
    sizes = [18, 20, 2000, 31, 1900, 18, 700, 2048, 44, 18]
    done = computed([batches([]), batches(sizes)])
    assert done.squares == pytest.approx(sum(size**2 for size in sizes), rel=0.15)


@given(st.lists(st.integers(2, 3_000_000), min_size=1, max_size=30))
def test_squares_are_never_less_than_equal_batches_would_have(sizes: list[int]) -> None:
    done = computed([batches([]), batches(sizes)])
    assert done.squares is not None
    assert done.squares * done.count >= sum(sizes) ** 2 * (1 - 1e-9)
    if max(sizes) <= BOUNDS[-1]:
        # Two in one bucket are at most twice apart.
        assert 0.25 <= done.squares / sum(size**2 for size in sizes) <= 4


@given(
    st.lists(st.integers(2, 20_000), min_size=1, max_size=20),
    st.lists(st.integers(2, 20_000), max_size=20),
)
def test_what_was_before_a_window_does_not_change_what_is_read_of_it(
    newer: list[int], older: list[int]
) -> None:
    alone = computed([batches([]), batches(newer)])
    after = computed([batches(older), batches([*older, *newer])])
    assert after.count == alone.count
    assert after.tokens == alone.tokens
    assert after.squares == pytest.approx(alone.squares)


def test_batches_of_one_and_of_two_texts_are_told_apart_exactly() -> None:
    """No batch has between one text and two."""
    sizes = {"1": 3, "2": 8, "4": 8, "+Inf": 8}
    text = batches([16] * 3 + [32] * 5) + histogram(sizes, 3 * 1 + 5 * 2, "te_batch_next_size")
    totals = windows([text])[-1].batches_total
    assert totals is not None
    assert totals.text_middles == pytest.approx(3 * 1 + 5 * 2)


def test_polls_of_an_empty_queue_are_no_batches() -> None:
    done = computed([batches([]), batches([16] * 3, polls=500)])
    assert done.count == 3
    assert done.squares == pytest.approx(3 * 16**2)


def test_an_idle_server_has_computed_nothing_and_nothing_is_wrong() -> None:
    window = windows([batches([64] * 5), batches([64] * 5, polls=9)])[-1]
    assert window.batches == Batches(0, 0, 0, 0, 0, 0)
    assert window.note is None


def test_two_readings_that_one_takes_of_totals_give_the_batches_between_them() -> None:
    first, _, last = windows([batches([64] * 5), batches([64] * 8), batches([64] * 8 + [900])])
    assert first.batches_total is not None
    assert last.batches_total is not None
    between = last.batches_total.since(first.batches_total)
    assert (between.count, between.tokens) == (4, 3 * 64 + 900)


def test_a_server_that_says_nothing_of_batches_has_none() -> None:
    window = windows([tei(5), tei(9)])[-1]
    assert window.batches is None
    assert window.batches_total is None
    assert window.note is None


def test_a_window_that_begins_before_the_first_batches_were_exposed_has_none() -> None:
    assert windows([tei(0), batches([64] * 4)])[-1].batches is None


def test_a_classifier_counts_its_own_inferences() -> None:
    text = batches([64] * 4).replace("te_embed_inference", "te_predict_inference")
    done = computed([batches([]).replace("te_embed_inference", "te_predict_inference"), text])
    assert done.texts == 4
    assert done.seconds == pytest.approx(0.2)


def put_together(texts: Sequence[int], timed: int) -> str:
    """What it says when batches of so many texts of 100 tokens have begun, and so many are timed.

    Each took 10 ms a text.
    """

    def counts(sizes: Sequence[int]) -> dict[str, int]:
        buckets = {str(bound): sum(size <= bound for size in sizes) for bound in BOUNDS}
        return buckets | {"+Inf": len(sizes)}

    tokens = [100 * size for size in texts]
    done = [size for size, end in zip(texts, accumulate(texts), strict=True) if end <= timed]
    return (
        tei(timed, 0.05)
        + histogram(counts(tokens), sum(tokens), "te_batch_next_tokens")
        + histogram(counts(texts), sum(texts), "te_batch_next_size")
        + f"te_embed_inference_duration_sum {sum(size**2 for size in done) / 100}\n"
        + f"te_embed_inference_duration_count {timed}\n"
    )


def test_a_batch_counts_when_it_has_been_timed_and_not_when_it_begins() -> None:
    # Beside a search a large batch stands that has been put together and not been computed.
    steps = [([1], 1), ([1, 1], 2), ([1, 1, 20], 2), ([1, 1, 20, 1], 2), ([1, 1, 20, 1], 22)]
    found = [each.batches_total for each in windows(put_together(*step) for step in steps)]
    counted = [(each.batches, each.tokens, each.seconds) for each in found if each is not None]
    before = (2, 200, 0.02)
    assert counted == [(1, 100, 0.01), before, before, before, (3, 2200, 4.02)]


def test_of_batches_that_began_between_two_looks_the_timed_texts_have_their_part() -> None:
    _, last = windows([put_together([1], 1), put_together([1, 20, 20], 21)])
    assert last.batches_total is not None
    assert (last.batches_total.batches, last.batches_total.tokens) == (2, 2100)


def test_batches_that_were_never_timed_hold_none_back_for_ever() -> None:
    steps = [([1, *[2] * number], 2 * number - 1) for number in range(1, 100)]
    *_, before, last = windows(put_together(*step) for step in steps)
    assert before.batches_total is not None
    assert last.batches_total is not None
    done = last.batches_total.since(before.batches_total)
    assert (done.count, done.tokens, done.texts) == (1, 200, 2)


def test_of_batches_that_are_not_timed_few_readings_are_kept() -> None:
    """A server whose backend hangs goes on to put batches together."""
    steps = [([1] * number, 1) for number in range(1, 100)]
    timed = [each.batches_total for each in windows(put_together(*step) for step in steps)]
    assert timed[-1] is not None
    # What was put together long ago is taken for timed once its reading is dropped.
    assert timed[-1].batches > 80


def test_vllms_steps_are_batches_of_its_engines_without_a_time() -> None:
    def steps(count: int) -> str:
        return "".join(
            histogram(
                {"1.0": 2, "8.0": 2, "256.0": 2 + count, "512.0": 2 + count, "+Inf": 2 + count},
                count * 200, "vllm:iteration_tokens_total", f'engine="{engine}",',
            )
            + histogram(
                {"0.3": 3 * count, "+Inf": 3 * count}, count * 0.1,
                "vllm:e2e_request_latency_seconds", f'engine="{engine}",',
            )
            for engine in (0, 1)
        )  # fmt: skip

    history = History()
    window = [history.add(read(steps(n), PROFILES["vllm"], n / 2)) for n in (1, 11)][-1]
    done = window.batches
    assert done is not None
    assert (done.count, done.tokens, done.texts) == (20, 4000, 60)
    assert done.squares == pytest.approx(20 * 200**2)
    assert (done.seconds, done.billed) == (None, None)


TRITON = """nv_inference_request_success{{model="e",version="1"}} {requests}
nv_inference_request_duration_us{{model="e",version="1"}} {micros}
nv_inference_count{{model="e",version="1"}} {texts}
nv_inference_exec_count{{model="e",version="1"}} {batches}
nv_inference_compute_infer_duration_us{{model="e",version="1"}} {micros}
"""


def test_tritons_requests_bill_the_time_of_their_batch_once_for_all_of_their_texts() -> None:
    history = History()
    for at in (1, 2):
        text = TRITON.format(requests=at * 20, micros=at * 400_000, texts=at * 60, batches=at * 5)
        window = history.add(read(text, PROFILES["triton"], at))
    done = window.batches
    assert done is not None
    assert (done.count, done.tokens, done.squares) == (5, None, None)
    assert (done.texts, done.billed) == (60, 20)
    assert done.seconds == pytest.approx(0.4)


@pytest.mark.parametrize("server", ["tei"])
def test_a_real_exposition_has_batches_as_large_as_they_were(server: str) -> None:
    found = read((EXPOSITIONS / f"{server}.txt").read_text(), PROFILES[server], 0.0)
    assert found.batches is not None
    assert (found.batches.batches, found.batches.tokens) == (400, 121600)
    zero = BatchTotals(*[0.0] * len(found.batches))
    done = found.batches.since(zero)
    assert done.squares is not None
    # 350 of 129 to 256 tokens and 50 of 513 to 1024.
    assert 350 * 129**2 + 50 * 513**2 < done.squares < 350 * 256**2 + 50 * 1024**2


def said(**changed: str) -> str:
    """Ten batches with single values replaced, by the name of the sample with ``le`` after it."""
    lines = batches([100] * 10, texts=2).splitlines()
    for name, value in changed.items():
        family, _, bound = name.partition("__")
        begin = f'{family}{{le="{bound}"}} ' if bound else f"{family} "
        at = next(index for index, line in enumerate(lines) if line.startswith(begin))
        lines[at] = begin + value
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"te_batch_next_tokens_sum": "-5"}, "te_batch_next_tokens_sum is negative"),
        ({"te_batch_next_tokens_sum": "0"}, "10 batches of 0 tokens"),
        ({"te_batch_next_tokens_bucket__64": "12"}, "te_batch_next_tokens is not cumulative"),
        ({"te_batch_next_tokens_bucket__1": "-1"}, "te_batch_next_tokens is not cumulative"),
        ({"te_embed_inference_duration_sum": "-1"}, "te_embed_inference_duration_sum is negative"),
        ({"te_embed_inference_duration_count": "0"}, "1 s in batches without a text"),
    ],
)
def test_batches_that_cannot_be_are_none_and_the_note_says_why(
    wrong: Mapping[str, str], words: str
) -> None:
    found = read(said(**wrong), TEI, 0.0)
    assert found.batches is None
    assert found.note == f"what it says of its batches cannot be true: {words}"
    assert found.latency is not None
    assert read(said(), TEI, 0.0).note is None


def test_tokens_without_a_batch_are_not_believed() -> None:
    text = batches([], polls=10).replace("tokens_sum 0", "tokens_sum 1000")
    found = read(text, TEI, 0.0)
    assert found.batches is None
    assert found.note is not None
    assert "0 batches of 1000 tokens" in found.note


def test_where_a_bucket_is_missing_only_the_squares_are_unknown() -> None:
    found = read(said(te_batch_next_tokens_bucket__64="NaN"), TEI, 0.0)
    assert found.note is None
    assert found.batches is not None
    assert (found.batches.batches, found.batches.tokens) == (10, 1000)
    assert math.isnan(found.batches.squares)


@pytest.mark.parametrize("seconds", [0.5, 10.0])
def test_texts_cannot_be_in_batches_longer_than_the_time_that_has_passed(seconds: float) -> None:
    history = History()
    history.add(read(batches([]), TEI, 0.0))
    window = history.add(read(batches([100] * 10, seconds=seconds + 61), TEI, seconds))
    assert window.batches is None
    assert window.note is not None
    assert "each longer than" in window.note


def test_a_long_window_of_several_batches_tolerates_none_that_is_longer_than_it() -> None:
    history = History()
    history.add(read(batches([]), TEI, 0.0))
    assert history.add(read(batches([100] * 10, seconds=5.5), TEI, 5.0)).batches is None


def test_a_batch_that_began_before_a_short_window_is_believed() -> None:
    history = History()
    history.add(read(batches([]), TEI, 0.0))
    assert history.add(read(batches([100], texts=9, seconds=3), TEI, 0.5)).batches is not None


def test_batches_whose_tokens_stand_still_are_not_believed() -> None:
    stuck = said(te_batch_next_tokens_sum="500")
    later = stuck.replace('le="+Inf"} 10', 'le="+Inf"} 90')
    history = History()
    history.add(read(stuck, TEI, 0.0))
    window = history.add(read(later, TEI, 1.0))
    assert window.batches is None
    assert window.note == ("what it says of its batches cannot be true: 80 batches of 0 tokens")


@pytest.mark.parametrize("name", ["batches", "tokens", "texts", "seconds"])
def test_a_counter_of_batches_that_goes_down_is_a_restart(name: str) -> None:
    history = History()
    first = read(batches([100] * 10), TEI, 0.0)
    assert first.batches is not None
    history.add(first)
    less: dict[str, float] = {name: getattr(first.batches, name) / 2}
    fewer = replace(first, at=0.5, batches=first.batches._replace(**less), series=None)
    window = history.add(fewer)
    assert history.generation == 1
    assert window.batches == Batches(0, 0, 0, 0, 0, 0)


def test_a_reading_without_batches_between_two_is_no_restart() -> None:
    history = History()
    first = read(batches([100] * 10), TEI, 0.0)
    history.add(first)
    assert history.add(replace(first, at=0.5, batches=None)).batches is None
    last = read(batches([100] * 15), TEI, 1.0)
    window = history.add(last)
    assert history.generation == 0
    assert window.batches is not None
    assert window.batches.count == 5


@pytest.mark.parametrize(
    ("server", "unit"),
    [
        ("tei", "texts"), ("vllm", "texts"), ("sglang", "texts"), ("nim", "texts"),
        ("triton", "requests"), ("ovms", "requests"), ("ray-serve", "requests"),
    ],
)  # fmt: skip
def test_a_queue_says_what_it_counts(server: str, unit: str) -> None:
    found = read((EXPOSITIONS / f"{server}.txt").read_text(), PROFILES[server], 0.0)
    assert found.queue_unit == unit
    assert History().add(found).queue_unit == unit


def test_a_users_own_queue_counts_requests_unless_it_is_said_to_count_texts() -> None:
    latency = LatencyFamily(family="d")
    counts_texts = QueueFamily(family="q", unit="texts")

    def unit(queue: QueueFamily | None = None, running: QueueFamily | None = None) -> str:
        settings = MetricsSettings(
            profile="prometheus", latency=latency, queue=queue, running=running
        )
        return profile_of(settings).queue_unit

    assert unit() == "requests"
    assert unit(QueueFamily(family="q")) == "requests"
    assert unit(counts_texts) == "texts"
    assert unit(running=counts_texts) == "texts"


def test_a_totals_unknown_parts_stay_unknown_in_differences() -> None:
    done = BatchTotals(9, 90).since(BatchTotals(4, 40))
    assert done == Batches(5, 50)
    assert math.isnan(BatchTotals(9).seconds)
    assert Reading(0.0, None).batches is None
