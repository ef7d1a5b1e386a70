"""What is embedded: sizes as written, texts from a file."""

from random import Random
from statistics import fmean

import pytest

from controlplane.tools.load.workload import (
    LONGEST,
    Fixed,
    Given,
    Lognormal,
    Words,
    parse_sizes,
    parse_texts,
)


def chance() -> Random:
    return Random(1876)  # noqa: S311 - a test's chance is always the same


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("128", Fixed(128)),
        ("fixed:128", Fixed(128)),
        ("lognormal:100:1", Lognormal(100, 1)),
        ("lognormal:20.5:0", Lognormal(20.5, 0)),
    ],
)
def test_sizes_are_read(text: str, sizes: object) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "many", "100001", "9" * 30, "fixed:", "fixed:x", "lognormal", "1.5"),
        *("lognormal:100", "lognormal:100:1:2", "lognormal:0:1", "lognormal:100:4"),
        *("lognormal:nan:1", "lognormal:100:inf", "normal:100:1", "٣"),
    ],
)
def test_what_is_no_size_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not a size: write a number of tokens from 1 to 100000"
    ):
        parse_sizes(text)


def test_lognormal_sizes_have_their_mean_and_a_heavy_tail() -> None:
    drawing = chance()
    drawn = sorted(Lognormal(100, 1).draw(drawing) for _ in range(50_000))
    assert fmean(drawn) == pytest.approx(100, rel=0.03)
    assert drawn[-500] > 5 * 100
    assert drawn[0] >= 1


def test_no_text_is_longer_than_can_be_asked_for() -> None:
    drawing = chance()
    assert max(Lognormal(LONGEST, 3).draw(drawing) for _ in range(1000)) == LONGEST


def test_words_have_the_length_that_was_drawn() -> None:
    assert len(Words(Fixed(37)).draw(chance()).split()) == 37


def test_words_differ_so_that_no_cache_answers() -> None:
    drawing = chance()
    assert len({Words(Fixed(10)).draw(drawing) for _ in range(100)}) == 100


def test_texts_stand_one_on_a_line_and_empty_lines_are_none() -> None:
    assert parse_texts("one\n\n  two words \r\n") == Given(("one", "two words"))


def test_a_file_without_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="has no text: write one on each line"):
        parse_texts("\n \n")


def test_every_given_text_is_drawn() -> None:
    texts, drawing = Given(("a", "b", "c")), chance()
    assert {texts.draw(drawing) for _ in range(100)} == {"a", "b", "c"}
