"""One line of the Prometheus text format: a name with labels, a value."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

MAX_LINE: Final = 2_048
"""Characters of a wanted line; a label set that is longer is not one we could show anybody."""
_CACHED_SERIES: Final = 8_192
"""Names with labels remembered over all replicas, at most `MAX_LINE` characters each."""


NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
BLOCK: Final = r'\{(?:[^"{}\n]|"(?:[^"\\\n]|\\.)*+")*+\}'
_SERIES: Final = re.compile(rf"(?P<name>{NAME})(?P<block>{BLOCK})?")
_LABEL: Final = re.compile(
    r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*+)"[ \t]*(?:,|$)'
)
_ESCAPED: Final = re.compile(r'\\([\\"n])')


class ExpositionError(ValueError):
    """A scraped text cannot be used; the message is one sentence that says why.

    The message repeats nothing of the text: who registers an address would else read in the API
    what only the control plane can reach.

    Attributes:
        excerpt: The part of the text that is wrong, for a user who scrapes it on their own.
    """

    def __init__(self, sentence: str, excerpt: str | None = None) -> None:
        self.excerpt = excerpt
        super().__init__(sentence)

    def quoted(self) -> str:
        """The message with the part of the text that it is about."""
        return str(self) if self.excerpt is None else f"{self}: {shown(self.excerpt)}"


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a sample: all, ``le`` as a number, and all others, sorted."""

    values: Mapping[str, str]
    bound: float | None
    others: tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One wanted sample; its value is as exposed, finite or NaN."""

    labels: Labels
    value: float


@lru_cache(maxsize=_CACHED_SERIES)
def series_of(text: str) -> tuple[str | None, Labels]:
    """The name and labels of ``name{…}``; no name when the text is more or less than that."""
    match = _SERIES.fullmatch(text)
    return (match["name"], labels_of(match["block"] or "{}")) if match else (None, _NO_LABELS)


def labels_of(block: str) -> Labels:
    """Read ``{name="value",…}``.

    Raises:
        ExpositionError: When that is not what it is.
    """
    inner, values, end = block[1:-1], {}, 0
    while match := _LABEL.match(inner, end):
        name, value = match.groups()
        if name in values:
            raise ExpositionError("a wanted sample has a label twice", block)
        values[name] = _ESCAPED.sub(lambda found: found[1].replace("n", "\n"), value)
        end = match.end()
    if inner[end:].strip(" \t"):
        raise ExpositionError("the labels of a wanted sample cannot be read", block)
    bound = number_of(values["le"]) if "le" in values else None
    if "le" in values and (bound is None or not bound > -math.inf):
        raise ExpositionError("the bound le of a wanted bucket must be a number", block)
    others = tuple(sorted((name, value) for name, value in values.items() if name != "le"))
    return Labels(MappingProxyType(values), bound, others)


_NO_LABELS: Final = Labels(MappingProxyType({}), None, ())


def number_of(text: str) -> float | None:
    """A number as the format writes it, infinite and NaN ones too; None for anything else."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def shown(text: str) -> str:
    """Foreign text as it may go into a log: ASCII, on one line, short."""
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")
