"""What a history keeps of its readings is little, and what is read of it is exact."""

import gc
import tracemalloc
from itertools import accumulate
from math import isnan
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scrape.pages import Page
from controlplane.telemetry import PROFILES, History, read
from controlplane.telemetry.window import Points

SECONDS = 5.0


class Step(NamedTuple):
    """What a reading has more than the one before, and whether then one is forgotten."""

    seconds: float
    counts: tuple[float, float, float]
    total: float
    errors: float
    tokens: float | None
    forgets: bool


grows = st.sampled_from([0.0, 0.0, 1.0, 3.0, 0.1, 2.0**24, 2.0**31, 1e17])

steps = st.builds(
    Step,
    seconds=st.sampled_from([0.5, 1.0, 1.1, 20.0]),
    counts=st.tuples(grows, grows, grows),
    total=grows,
    errors=grows,
    tokens=st.one_of(st.none(), grows),
    forgets=st.integers(0, 5).map(lambda item: item == 0),
)


@given(st.lists(steps, min_size=1, max_size=40), st.sampled_from([2.0, 50.0, 1e10]))
def test_a_window_is_the_difference_of_what_was_counted_whatever_was_dropped(
    lives: list[Step], enough: float
) -> None:
    points = Points()
    counts, at, total, errors = (0.0, 0.0, 0.0), 0.0, 0.0, 0.0
    known: list[tuple[float, tuple[float, ...], float, float | None]] = []
    for step in lives:
        counts = tuple(map(sum, zip(counts, accumulate(step.counts), strict=True)))  # type: ignore[assignment]
        at, total, errors = at + step.seconds, total + step.total, errors + step.errors
        points.append(at, counts, total, errors, step.tokens)
        known.append((at, counts, errors, step.tokens))
        if step.forgets and len(known) > 1:
            points.forget(1)
            del known[0]

        fits = [
            index
            for index, (then, counted, failed, _) in enumerate(known)
            if then <= at - SECONDS and counted[-1] + failed <= counts[-1] + errors - enough
        ]
        first = points.start(SECONDS, enough)
        assert first == (fits[-1] if fits else 0)
        by_bucket, failed, tokens, _ = points.grown(first)
        _, counts_then, errors_then, tokens_then = known[first]
        assert by_bucket == [now - then for now, then in zip(counts, counts_then, strict=True)]
        assert failed == errors - errors_then
        if step.tokens is None or tokens_then is None:
            assert isnan(tokens)
        else:
            assert tokens == step.tokens - tokens_then


@pytest.mark.parametrize("rate", [0.2, 0.8, 10.0])
def test_a_minute_of_readings_twice_a_second_takes_fifteen_kilobytes(rate: float) -> None:
    page, history = Page("tei", seed=1, rate=rate), History()
    history.add(read(page.after(0.5).decode(), PROFILES["tei"], 0.0))
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for tick in range(1, 240):
            history.add(read(page.after(0.5).decode(), PROFILES["tei"], tick / 2))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 15e3
    finally:
        tracemalloc.stop()
