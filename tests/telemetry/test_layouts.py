"""What is remembered of expositions changes nothing of what is read from the next."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.telemetry import ExpositionError, Reading, Source, layouts, read
from controlplane.telemetry.exposition import parse
from controlplane.telemetry.layouts import Newest
from tests.telemetry.texts import TEI


def outcome(text: str) -> Reading | str:
    try:
        return read(text, TEI, 0.0)
    except ExpositionError as error:
        return str(error)


def forget() -> None:
    layouts._layouts.clear()


def test_what_is_remembered_has_a_limit_to_all_of_it_however_long_each_is() -> None:
    forget()
    tracemalloc.start()
    try:
        for number in range(120):
            labels = [f'a="{number:04}{"x" * 1_500}{index}"' for index in range(120)]
            read("".join(f"te_queue_size{{{label}}} 1\n" for label in labels), TEI, 0.0)
        # Of each there are three copies, more or less.
        assert tracemalloc.get_traced_memory()[0] < 48_000_000
    finally:
        tracemalloc.stop()


exposed_values = st.one_of(
    st.integers(0, 9).map(str),
    st.sampled_from(["1e3", "-1", "NaN", "+Inf", "1_0", "x", "2 1700000000", "3 # {} 1", ""]),
)


def exposed(values: list[str]) -> str:
    labels = [(f'method="{method}",', le) for method in "ab" for le in ("0.1", "1", "+Inf")]
    buckets = [f'te_request_duration_bucket{{{before}le="{le}"}}' for before, le in labels]
    series = [*buckets, *(f'te_request_duration_sum{{method="{item}"}}' for item in "ab")]
    pairs = zip([*series, "te_queue_size"], values, strict=True)
    return "".join(f"{name} {value}\n" for name, value in pairs)


GOOD = ["1", "2", "2", "0", "3", "3", "0.5", "1", "0"]


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (index, value)
        for index in (2, 5, 6, 8)
        for value in ("1_0", "-1", "+Inf", "-Inf", "x")
        # A gauge without an end is one that is not known.
        if (index, value) not in {(8, "+Inf"), (8, "-Inf")}
    ],
)
def test_a_value_that_is_none_is_refused_in_a_layout_that_is_known(index: int, value: str) -> None:
    assert isinstance(outcome(exposed(GOOD)), Reading)
    assert isinstance(outcome(exposed([*GOOD[:index], value, *GOOD[index + 1 :]])), str)


exposed_lists = st.lists(exposed_values, min_size=9, max_size=9)


@given(st.one_of(exposed_lists, exposed_lists.map(sorted)))
def test_what_is_known_from_the_scrape_before_changes_nothing_of_what_is_read(
    values: list[str],
) -> None:
    text = exposed(values)
    forget()
    first = outcome(text)
    assert isinstance(outcome(exposed(GOOD)), Reading)
    again = outcome(text)
    # NaN is not equal to itself, and no reading has it.
    assert again == first


SEEN = [
    "# TYPE te_request_duration histogram",
    'te_request_duration_bucket{method="a",le="0.1"} 1',
    'te_request_duration_bucket{method="a",le="+Inf"} 2',
    'te_request_duration_sum{method="a"} 0.5',
    'te_request_failure{err="a"} 3',
    "te_batch_next_tokens_sum 40",
    "te_queue_size 1",
]


def changed(number: int, line: str) -> list[str]:
    return [*SEEN[:number], line, *SEEN[number + 1 :]]


@pytest.mark.parametrize(
    "lines",
    [
        SEEN,
        changed(0, "# TYPE te_request_duration summary"),
        changed(0, "te_queue_size 4"),
        [*SEEN[1:4], SEEN[0], *SEEN[4:]],
        changed(1, 'te_request_duration_bucket{method="a",le="0.2"} 1'),
        changed(1, 'te_request_duration_bucket{method="b",le="0.1"} 1'),
        [SEEN[0], SEEN[2], SEEN[1], *SEEN[3:]],
        [*SEEN[:4], SEEN[5], SEEN[4], SEEN[6]],
        changed(4, 'te_request_failure{err="a"} NaN'),
        changed(4, 'te_request_failure{err="a"} 1e999'),
        changed(4, 'te_request_failure{err="a"} 1_0'),
        changed(4, 'te_request_failure{err="a"} 7 1700000000'),
        changed(4, 'te_request_failure{err="a"} 1 \x0b'),
        changed(4, 'te_request_failure{err="a"} '),
        changed(4, f'te_request_failure{{err="a"}} {"0" * 2048}7'),
        changed(4, 'te_request_failure{err="a",more="b"} 3'),
        changed(4, "te_request_failure 3"),
        changed(4, "te_request_failure_total 3"),
        changed(4, "te_queue_size 5"),
    ],
)
def test_a_line_that_moved_or_is_another_one_is_not_taken_for_the_one_before(
    lines: list[str],
) -> None:
    text = "".join(f"{line}\n" for line in lines)
    forget()
    alone = outcome(text)
    forget()
    for count in (1, 2):
        # The second time its lines are known from the first.
        assert isinstance(outcome("\n".join(changed(6, f"te_queue_size {count}\n"))), Reading)
    assert outcome(text) == alone


def test_a_value_alone_is_no_sample_whatever_family_has_its_name() -> None:
    names = frozenset({"nan", "up"})
    for value in (1, 2):
        assert parse(f"nan {value}\nup 1\n", names).of(Source("nan"))
    assert not parse("nan\nup 1\n", names).of(Source("nan"))


def test_a_type_is_found_wherever_it_stands() -> None:
    text = 'up 1\n# TYPE other gauge\n# TYPE d histogram\nd_bucket{le="+Inf"} 1\n# TYPE e counter\n'
    assert parse(text, frozenset({"d_bucket"}), frozenset({"d"})).types == {"d": "histogram"}


def kept(cache: Newest[str, int], among: str = "abcd") -> str:
    return "".join(item for item in among if item in cache)


def test_what_was_used_last_stays() -> None:
    cache: Newest[str, int] = Newest(most=2, room=100)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    assert cache.get("a") == 1
    cache.put("c", 3, 1)
    assert kept(cache) == "ac"
    assert cache.get("b") is None


def test_sizes_count_and_not_only_numbers() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    for name in "abc":
        cache.put(name, 0, 4)
    assert kept(cache) == "bc"
    cache.put("d", 0, 8)
    assert kept(cache) == "d"


def test_what_takes_the_place_of_another_takes_its_room() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    for size in (8, 1, 8, 2):
        cache.put("a", size, size)
    cache.put("b", 0, 8)
    assert (kept(cache), cache.get("a")) == ("ab", 2)


def test_the_newest_is_kept_even_where_it_is_too_large() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    cache.put("a", 0, 1)
    cache.put("b", 0, 100)
    assert kept(cache) == "b"
    cache.put("c", 0, 1)
    assert kept(cache) == "c"


def test_what_was_cleared_takes_no_room() -> None:
    cache: Newest[str, int] = Newest(most=100, room=10)
    cache.put("a", 0, 9)
    cache.clear()
    cache.put("b", 0, 5)
    cache.put("c", 0, 5)
    assert kept(cache) == "bc"
