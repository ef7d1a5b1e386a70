"""What is known of the sizes of requests: how much is forgotten, and where classes are parted."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.balancing.demand import BIMODAL
from controlplane.telemetry.sizes import HALF_LIFE, LARGEST, REMEMBERED, Side, Sizes

BIN = 2**0.25
sizes_of_requests = st.lists(st.integers(1, LARGEST), min_size=1, max_size=300)


def seen(*requests: int, at: float = 0.0) -> Sizes:
    sizes = Sizes()
    sizes.add(requests, at)
    return sizes


def searches_and_bulk(searches: int, bulk: int) -> Sizes:
    """Of some 100 B and of some 8 kB, none quite like another."""
    return seen(
        *(80 + index % 40 for index in range(searches)),
        *(7_800 + 10 * (index % 60) for index in range(bulk)),
    )


@given(sizes_of_requests)
def test_all_requests_and_bytes_are_counted(requests: list[int]) -> None:
    sizes = seen(*requests)
    assert sizes.samples == len(requests)
    assert sizes.mean == pytest.approx(sum(requests) / len(requests))


@given(sizes_of_requests, st.floats(0, 1))
def test_a_quantile_is_at_most_a_bin_off(requests: list[int], q: float) -> None:
    true = sorted(requests)[max(math.ceil(q * len(requests) - 1e-9) - 1, 0)]
    assert true / BIN * (1 - 1e-9) <= seen(*requests).quantile(q) <= true * BIN * (1 + 1e-9)


@given(sizes_of_requests, st.integers(1, LARGEST))
def test_both_sides_of_a_threshold_are_all_that_there_is(
    requests: list[int], threshold: int
) -> None:
    split = seen(*requests).split(threshold)
    assert split.below.requests + split.above.requests == len(requests)
    assert split.below.bytes + split.above.bytes == pytest.approx(sum(requests))
    squares = sum(size**2 for size in requests)
    assert 0.97 * squares <= split.below.squares + split.above.squares <= squares * (1 + 1e-9)


@given(sizes_of_requests, st.integers(1, LARGEST))
def test_no_request_is_more_than_a_bin_on_the_wrong_side(
    requests: list[int], threshold: int
) -> None:
    split = seen(*requests).split(threshold)
    ordered = sorted(requests)
    least = bisect_right(ordered, threshold / BIN)
    most = bisect_right(ordered, threshold * BIN + 1)
    assert least <= split.below.requests <= most


@pytest.mark.parametrize("power", range(3, 27))
def test_a_power_of_two_parts_exactly(power: int) -> None:
    split = seen(2**power - 1, 2**power).split(2**power)
    assert (split.below.requests, split.above.requests) == (1, 1)


@given(sizes_of_requests)
def test_the_threshold_parts_requests_as_it_says(requests: list[int]) -> None:
    split = seen(*requests).threshold()
    if split is None:
        assert max(requests) <= min(requests) * BIN
        return
    assert split.below.requests == sum(size < split.threshold for size in requests) > 0
    assert split.above.requests == sum(size >= split.threshold for size in requests) > 0
    assert split.separation > 1
    assert split == seen(*requests).split(split.threshold)


@given(st.integers(1, 10), st.lists(st.integers(1, 1_000_000), min_size=2, max_size=60))
def test_the_threshold_does_not_depend_on_how_much_was_seen(
    times: int, requests: list[int]
) -> None:
    once, more = seen(*requests).threshold(), seen(*requests * times).threshold()
    assert (once is None) == (more is None)
    if once is not None and more is not None:
        assert more.threshold == once.threshold
        assert more.requests_above == pytest.approx(once.requests_above)


@pytest.mark.parametrize(("searches", "bulk"), [(180, 20), (100, 100), (198, 2), (20, 180)])
def test_searches_and_bulk_are_parted_between_the_two(searches: int, bulk: int) -> None:
    split = searches_and_bulk(searches, bulk).threshold()
    assert split is not None
    assert 200 < split.threshold < 4_000
    assert (split.below.requests, split.above.requests) == (searches, bulk)
    assert 70 < split.separation < 95
    assert split.requests_above == pytest.approx(bulk / (searches + bulk))


def test_a_gap_between_sizes_is_told_from_a_wide_spread() -> None:
    random = np.random.default_rng(1)
    spread, classes = Sizes(), Sizes()
    spread.add([int(size) + 1 for size in random.lognormal(6.0, 2.0, 2_000)], 1.0)
    classes.add([int(size) for size in random.integers(100, 150, 1_800)], 1.0)
    classes.add([int(size) for size in random.integers(8_000, 12_000, 200)], 1.0)
    wide, gap = spread.threshold(), classes.threshold()
    assert wide is not None
    assert gap is not None
    assert wide.separation > 10
    assert wide.explained < BIMODAL < gap.explained


def test_two_large_requests_among_a_thousand_small_ones_are_a_class_by_their_bytes() -> None:
    small = [40 + 9 * (index % 41) for index in range(998)]
    split = seen(*small, 80_000, 80_000).threshold()
    assert split is not None
    assert max(small) < split.threshold < 80_000


def test_bytes_above_a_threshold_are_their_part_of_all_bytes() -> None:
    split = seen(*[100] * 90, *[900] * 10).split(512)
    assert split.bytes_above == pytest.approx(0.5)


def test_where_nothing_or_only_one_size_was_seen_there_is_no_threshold() -> None:
    assert Sizes().threshold() is None
    assert seen(*[100] * 50).threshold() is None


def test_where_nothing_was_seen_nothing_is_known() -> None:
    sizes = Sizes()
    assert sizes.samples == 0
    assert math.isnan(sizes.mean)
    assert math.isnan(sizes.quantile(0.5))
    split = sizes.split(100)
    assert split.below == split.above == Side(0, 0, 0)
    assert (split.requests_above, split.bytes_above) == (0, 0)


def test_requests_without_a_body_do_not_count() -> None:
    sizes = seen(0, 0, 50)
    assert (sizes.samples, sizes.mean) == (1, 50)


def test_what_is_larger_than_the_largest_counts_as_that() -> None:
    assert seen(LARGEST * 9).mean == LARGEST


def test_a_request_counts_half_after_a_half_life_where_there_are_enough() -> None:
    sizes = seen(*[100] * 1000)
    sizes.add([100_000], HALF_LIFE)
    assert sizes.samples == pytest.approx(501)
    assert sizes.split(1_000).above.requests == 1


@given(st.floats(0, 1e9), st.integers(1, 1000))
def test_never_are_fewer_left_than_two_hundred_if_there_were_so_many(
    pause: float, count: int
) -> None:
    sizes = seen(*[100] * count)
    sizes.add([100], pause)
    assert sizes.samples >= min(count, REMEMBERED) + 1 - 0.2
    assert sizes.samples <= count + 1


def test_with_little_traffic_the_last_two_hundred_count_and_what_was_before_fades() -> None:
    sizes = seen(*[100] * 1000)
    for minute in range(1, 601):
        sizes.add([5_000], minute * 60.0)
    assert sizes.samples == pytest.approx(REMEMBERED + 1)
    assert sizes.split(1_000).below.requests < 0.06 * REMEMBERED


def test_a_class_that_is_gone_for_long_is_forgotten_altogether() -> None:
    sizes = seen(*[100] * 1000, *[9_000] * 100)
    for minute in range(1, 61):
        sizes.add([100] * 1000, minute * 60.0)
    assert sizes.threshold() is None
    assert sizes.mean == pytest.approx(100)


def test_a_clock_that_stands_still_or_goes_back_forgets_nothing() -> None:
    sizes = seen(*[100] * 1000, at=10.0)
    sizes.add([100], 10.0)
    sizes.add([100], 5.0)
    sizes.add([100], 10.0)
    assert sizes.samples == 1003


def test_a_copy_goes_its_own_way() -> None:
    sizes = seen(100)
    other = sizes.copy()
    other.add([200], 1.0)
    assert (sizes.samples, other.samples) == (1, 2)


def test_the_newest_requests_count_alone_where_they_are_of_another_size() -> None:
    sizes = searches_and_bulk(300, 0)
    for now in (5.0, 10.0, 15.0, 20.0):
        sizes.add([100] * 30 + [8_000] * 30, now)
    assert sizes.mean < 2_200
    assert 1.3 * sizes.mean < sizes.newest_mean < 4_050


def test_chance_and_a_few_requests_do_not_make_the_newest_another_size() -> None:
    random = np.random.default_rng(1)
    sizes = Sizes()
    is_usual = []
    for now in range(0, 1000, 5):
        sizes.add([round(item) for item in random.lognormal(7, 0.8, 40)], now)
        is_usual.append(sizes.newest_mean == sizes.mean)
    assert sum(is_usual) > 0.95 * len(is_usual)
    few = searches_and_bulk(300, 0)
    few.add([8_000] * 10, 100.0)
    assert few.newest_mean == few.mean


def test_bulk_that_has_just_begun_is_seen_as_it_is() -> None:
    sizes = Sizes()
    for now in range(24):
        bulk = 2 * (now >= 20)
        sizes.add([100] * (20 - bulk) + [8_000] * bulk, float(now))
    split = sizes.split(1_000)
    assert split.requests_above < 0.03
    assert 0.04 < split.above_lately < 0.15


def test_a_few_large_requests_are_chance() -> None:
    sizes = searches_and_bulk(290, 10)
    sizes.add([100] * 19 + [8_000], 1.0)
    split = sizes.split(1_000)
    assert split.above_lately == split.requests_above
