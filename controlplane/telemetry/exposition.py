"""The Prometheus text format: from a scraped text to the samples that are wanted.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4). The full
parser of prometheus_client takes some 20 µs a sample, which at a thousand replicas and a scrape a
second is many cores, and it calls a counter without ``_total`` by another name; here only wanted
lines are looked at, and what repeats from scrape to scrape and from replica to replica, which is
all but the values, is parsed once. The tests hold both parsers equal.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Final

from controlplane.telemetry.layouts import (
    BLOCK,
    MAX_LINE,
    NAME,
    ExpositionError,
    Layout,
    Place,
    Sample,
    as_before,
    labels_of,
    layout_of,
    number_of,
    series_of,
    take_type,
)
from controlplane.telemetry.profile import Source

MAX_LINES: Final = 500_000
"""A Ray node with hundreds of workers has some thirty thousand."""
MAX_SAMPLES: Final = 10_000
"""Wanted samples: a histogram of 40 buckets with 250 label sets."""
_LINE: Final = re.compile(
    rf"(?P<name>{NAME})?(?P<block>[ \t]*+{BLOCK})?[ \t]*+(?P<value>[^ \t{{}}]++)"
    # Milliseconds; in OpenMetrics seconds with a fraction.
    r"(?:[ \t]++[-+]?[0-9]++(?:\.[0-9]*+)?(?:[eE][-+]?[0-9]++)?)?[ \t\r]*+(?:\#.*)?"
)
_TYPE: Final = "# TYPE "


@dataclass(frozen=True, slots=True)
class Exposition:
    """The wanted part of a text: its layout, and its values in order."""

    layout: Layout
    values: Sequence[float]

    @property
    def types(self) -> Mapping[str, str]:
        """The types of the families, as the text states them."""
        return self.layout.types

    def of(self, source: Source, suffix: str = "") -> list[Sample]:
        """The samples of a family that have the labels its source asks for."""
        return self._samples(self.layout.of(source, suffix))

    def counter(self, source: Source) -> list[Sample]:
        """The samples of a counter, under whichever of its two spellings it is exposed."""
        return self._samples(self.layout.of_counter(source))

    def _samples(self, places: Sequence[Place]) -> list[Sample]:
        return [Sample(labels, self.values[index]) for labels, index in places]


def parse(
    text: str,
    names: frozenset[str],
    typed: frozenset[str] = frozenset(),
    counters: frozenset[str] = frozenset(),
) -> Exposition:
    """Pick the wanted samples out of a text.

    Args:
        names: Of the wanted samples, with their suffixes.
        typed: Families whose declared type is wanted as well.
        counters: Of the names those whose values are finite; an infinite gauge is not known.
    """
    if text not in ("", "# EOF") and not text.endswith(("\n", "\n# EOF")):
        raise ExpositionError("the last line has no end: the answer may have been cut short")
    if len(text) > MAX_LINES and text.count("\n") >= MAX_LINES:
        raise ExpositionError(f"the exposition has more than {MAX_LINES} lines")
    lines: list[str] = _wanted(names, typed).findall(f"\n{text}")
    if len(lines) > MAX_SAMPLES:
        raise ExpositionError(f"the exposition has more than {MAX_SAMPLES} wanted samples")
    _must_be_exposition(text, only_first=bool(lines))
    return Exposition(*(as_before(lines, names) or _line_by_line(lines, names, counters)))


def _line_by_line(
    lines: Sequence[str], names: frozenset[str], counters: frozenset[str]
) -> tuple[Layout, list[float]]:
    """The same for any lines; what is wrong with them is found here."""
    samples: list[tuple[str, Place]] = []
    types: dict[str, str] = {}
    values: list[float] = []
    for line in lines:
        if line.startswith(_TYPE):
            take_type(line, types)
        elif (named := _sample(line, names)) is not None:
            name, (labels, value) = named
            if math.isinf(value):
                if name in counters:
                    raise ExpositionError(
                        "the value of a wanted counter must be a finite number or NaN", line
                    )
                value = math.nan
            samples.append((name, (labels, len(values))))
            values.append(value)
    return layout_of(samples, types), values


@lru_cache(maxsize=256)
def _wanted(names: frozenset[str], typed: frozenset[str]) -> "re.Pattern[str]":
    """Finds the lines that begin like a wanted one; most lines it leaves after a few characters."""
    begins = _any_of([*names, *(f"{_TYPE}{family} " for family in typed)])
    return re.compile(f"\n[ \t]*+({begins}.*)")


def _any_of(words: Iterable[str]) -> str:
    """A pattern of words in which no two ways begin with the same letter.

    Of a word that begins with another one the shorter is enough.
    """
    by_first: dict[str, list[str]] = {}
    for word in words:
        if not word:
            return ""
        by_first.setdefault(word[0], []).append(word)
    ways = []
    for words_of_letter in by_first.values():
        both = zip(min(words_of_letter), max(words_of_letter), strict=False)
        start = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], both))
        ways.append(re.escape(start) + _any_of(word[len(start) :] for word in words_of_letter))
    return f"(?:{'|'.join(ways)})"


def _must_be_exposition(text: str, *, only_first: bool) -> None:
    """Recognise an error page by its first line; by all lines where none was wanted."""
    number = end = 0
    while end < len(text):
        # The last line, `# EOF`, may have no end.
        number, start, end = number + 1, end, text.find("\n", end) + 1 or len(text)
        line = text[start:end]
        if (stripped := line.strip()) and not stripped.startswith("#"):
            match = _LINE.fullmatch(stripped)
            if match is None or number_of(match["value"]) is None:
                raise ExpositionError(
                    f"line {number} is no metric sample; is this path served in the Prometheus"
                    " text format?",
                    line,
                )
        if only_first and stripped:
            return


def _sample(line: str, names: frozenset[str]) -> tuple[str, Sample] | None:
    """Parse a line that starts like a wanted one; None when its name only starts like one."""
    if len(line) > MAX_LINE:
        raise ExpositionError(
            f"a wanted sample is longer than {MAX_LINE} characters; drop some labels", line
        )
    series, _, text = line.rpartition(" ")
    name, labels = series_of(series)
    if name is None:  # a timestamp or an exemplar follows the value, or no space stands before it
        match = _LINE.fullmatch(line)
        if match is None:
            raise ExpositionError("a line that begins like a wanted sample is none", line)
        name, text = match["name"], match["value"]
        labels = labels_of((match["block"] or "{}").strip())
    if name not in names:
        return None
    value = number_of(text)
    if value is None:
        raise ExpositionError("the value of a wanted sample must be a number", line)
    return name, Sample(labels, value)
