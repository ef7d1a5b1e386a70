"""The Prometheus text format: from a scraped text to the samples that are wanted.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4). The full
parser of prometheus_client takes some 20 µs a sample, which at a thousand replicas and a scrape a
second is many cores, and it calls a counter without ``_total`` by another name; here only wanted
lines are looked at, and names with labels, which repeat from scrape to scrape and from replica to
replica, are parsed once. The tests hold both parsers equal.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from io import StringIO
from itertools import takewhile
from types import MappingProxyType
from typing import Final, NamedTuple

from controlplane.signals.profile import Source, spellings

MAX_LINES: Final = 100_000
"""A server with a hundred models and forty buckets each stays far below."""
MAX_SAMPLES: Final = 10_000
"""Wanted samples: a histogram of 40 buckets with 250 label sets."""
MAX_LINE: Final = 2_048
"""Characters of a wanted line; a label set that is longer is not one we could show anybody."""
_CACHED_SERIES: Final = 8_192
"""Names with labels remembered over all replicas, at most `MAX_LINE` characters each."""

_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_BLOCK: Final = r'\{(?:[^"{}\n]|"(?:[^"\\\n]|\\.)*+")*+\}'
_LINE: Final = re.compile(
    rf"(?P<name>{_NAME})?(?P<block>[ \t]*+{_BLOCK})?[ \t]*+(?P<value>[^ \t{{}}]++)"
    r"(?:[ \t]++[-+]?[0-9]++)?[ \t\r]*+(?:\#.*)?"
)
_SERIES: Final = re.compile(rf"(?P<name>{_NAME})(?P<block>{_BLOCK})?")
_LABEL: Final = re.compile(
    r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*+)"[ \t]*(?:,|$)'
)
_ESCAPED: Final = re.compile(r'\\([\\"n])')
_TYPE: Final = "# TYPE "


class ExpositionError(ValueError):
    """A scraped text cannot be used; the message is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a sample.

    Attributes:
        values: All by name.
        bound: The label ``le`` as a number; None when there is none.
        others: All but ``le``, sorted: what the buckets of one histogram have in common.
    """

    values: Mapping[str, str]
    bound: float | None
    others: tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One wanted sample; its value is as exposed, finite or NaN."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Exposition:
    """The wanted part of a text.

    Attributes:
        samples: By sample name, such as ``te_request_duration_bucket``.
        types: What the text says the type of a family is.
    """

    samples: Mapping[str, list[Sample]]
    types: Mapping[str, str]

    def of(self, source: Source, suffix: str = "") -> list[Sample]:
        """The samples of a family that have the labels its source asks for."""
        found = self.samples.get(source.family + suffix, [])
        if not source.labels:
            return found
        return [sample for sample in found if source.takes(sample.labels.values)]

    def counter(self, source: Source) -> list[Sample]:
        """The samples of a counter, under whichever of its two spellings it is exposed."""
        for family in spellings(source.family):
            if found := self.of(replace(source, family=family)):
                return found
        return []


def parse(text: str, names: frozenset[str], typed: frozenset[str] = frozenset()) -> Exposition:
    """Pick the wanted samples out of a text.

    Args:
        text: The whole of the answer.
        names: Of samples, with their suffixes.
        typed: Families of which the declared type is wanted as well.

    Raises:
        ExpositionError: When the text is no exposition, is cut short, or is over a limit.
    """
    if text and not text.endswith("\n"):
        raise ExpositionError("the last line has no end: the answer may have been cut short")
    if len(text) > MAX_LINES and text.count("\n") >= MAX_LINES:
        raise ExpositionError(f"the exposition has more than {MAX_LINES} lines")
    lines: list[str] = _wanted(names, typed).findall(f"\n{text}")
    if len(lines) > MAX_SAMPLES:
        raise ExpositionError(f"the exposition has more than {MAX_SAMPLES} wanted samples")
    _must_be_exposition(text, only_first=bool(lines))
    samples: dict[str, list[Sample]] = {}
    types: dict[str, str] = {}
    for line in lines:
        if line.startswith(_TYPE):
            words = line.split()
            types[words[2]] = words[3] if len(words) > 3 else "untyped"
        elif (named := _sample(line, names)) is not None:
            samples.setdefault(named[0], []).append(named[1])
    return Exposition(samples, types)


@lru_cache(maxsize=256)
def _wanted(names: frozenset[str], typed: frozenset[str]) -> "re.Pattern[str]":
    """Finds the lines that begin like a wanted one; most lines it leaves after a few characters."""
    begins = _any_of([*names, *(f"{_TYPE}{family} " for family in typed)])
    return re.compile(f"\n({begins}.*)")


def _any_of(words: Iterable[str]) -> str:
    """A pattern of words in which no two ways begin alike.

    Of a word that begins with another one the shorter is enough.
    """
    by_first: dict[str, list[str]] = {}
    for word in words:
        if not word:
            return ""
        by_first.setdefault(word[0], []).append(word)
    ways = []
    for alike in by_first.values():
        both = zip(min(alike), max(alike), strict=False)
        start = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], both))
        ways.append(re.escape(start) + _any_of(word[len(start) :] for word in alike))
    return f"(?:{'|'.join(ways)})"


def _must_be_exposition(text: str, *, only_first: bool) -> None:
    """An error page is told by its first line; by all of them when nothing wanted was in it."""
    for number, line in enumerate(StringIO(text, newline="\n"), start=1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            match = _LINE.fullmatch(stripped)
            if match is None or _number(match["value"]) is None:
                raise ExpositionError(
                    f"line {number} is no metric sample: {_shown(line)}; is this path served in"
                    " the Prometheus text format?"
                )
        if only_first and stripped:
            return


def _sample(line: str, names: frozenset[str]) -> tuple[str, Sample] | None:
    """Parse a line that starts like a wanted one; None when its name only starts like one."""
    if len(line) > MAX_LINE:
        raise ExpositionError(
            f"a sample is longer than {MAX_LINE} characters: {_shown(line)}; drop some labels"
        )
    series, _, text = line.rpartition(" ")
    name, labels = _series(series)
    if name is None:  # a timestamp or an exemplar follows the value, or no space stands before it
        match = _LINE.fullmatch(line)
        if match is None:
            raise ExpositionError(f"this is no metric sample: {_shown(line)}")
        name, text = match["name"], match["value"]
        labels = _labels((match["block"] or "{}").strip())
    if name not in names:
        return None
    value = _number(text)
    if value is None or math.isinf(value):
        raise ExpositionError(f"the value must be a finite number or NaN: {_shown(line)}")
    return name, Sample(labels, value)


@lru_cache(maxsize=_CACHED_SERIES)
def _series(text: str) -> tuple[str | None, Labels]:
    """The name and labels of ``name{…}``; no name when the text is more or less than that."""
    match = _SERIES.fullmatch(text)
    return (match["name"], _labels(match["block"] or "{}")) if match else (None, _NO_LABELS)


def _labels(block: str) -> Labels:
    inner, values, end = block[1:-1], {}, 0
    while match := _LABEL.match(inner, end):
        name, value = match.groups()
        if name in values:
            raise ExpositionError(f"the label {name} is there twice: {_shown(block)}")
        values[name] = _ESCAPED.sub(lambda found: found[1].replace("n", "\n"), value)
        end = match.end()
    if inner[end:].strip(" \t"):
        raise ExpositionError(f"these are no labels: {_shown(block)}")
    bound = _number(values["le"]) if "le" in values else None
    if "le" in values and (bound is None or not bound > -math.inf):
        raise ExpositionError(f"the bucket's bound le must be a number: {_shown(block)}")
    others = tuple(sorted((name, value) for name, value in values.items() if name != "le"))
    return Labels(MappingProxyType(values), bound, others)


_NO_LABELS: Final = Labels(MappingProxyType({}), None, ())


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _shown(text: str) -> str:
    """Foreign text as it may go into a log: ASCII, on one line, short."""
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")
