"""What repeats from scrape to scrape and from replica to replica: all of a text but its values."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from controlplane.signals.profile import Source, spellings
from controlplane.signals.series import MAX_LINE, ExpositionError, Labels, series_of

_CACHED_LAYOUTS: Final = 1_024
"""Expositions of which everything but the values is remembered; replicas of a kind share one."""

Place = tuple[Labels, int]
"""The labels of a wanted sample, and which of the values is its."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All of an exposition's wanted part but its values: the same from scrape to scrape.

    Attributes:
        places: By sample name, such as ``te_request_duration_bucket``.
        types: What the text says the type of a family is.
        known: What was worked out of the layout alone, by what it is of.
    """

    places: Mapping[str, tuple[Place, ...]]
    types: Mapping[str, str]
    known: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def of(self, source: Source, suffix: str = "") -> Sequence[Place]:
        """Where the samples of a family are that have the labels its source asks for."""
        found = self.places.get(source.family + suffix, ())
        if not source.labels:
            return found
        return [place for place in found if source.takes(place[0].values)]

    def of_counter(self, source: Source) -> Sequence[Place]:
        """The same of a counter, under whichever of its two spellings it is exposed."""
        for family in spellings(source.family):
            if found := self.of(Source(family, source.unit, source.labels)):
                return found
        return ()


def take_type(line: str, types: dict[str, str]) -> None:
    """Read ``# TYPE name type``."""
    words = line.split()
    types[words[2]] = words[3] if len(words) > 3 else "untyped"


def as_before(lines: Sequence[str], names: frozenset[str]) -> tuple[Layout, list[float]] | None:
    """Read only the values where everything else has been seen; None where that will not do.

    Args:
        lines: Those that begin like wanted ones.
        names: Of wanted samples.
    """
    if not lines:
        return None
    # Most often the layout is that of the last text with as many lines of which the last is this.
    last = _last_like(len(lines), lines[-1].rpartition(" ")[0], names)
    if last and (values := last[0].values(lines)) is not None:
        return last[0].layout, values
    if max(map(len, lines)) > MAX_LINE:
        return None
    series, texts = [], []
    for line in lines:
        if line[0] == "#":
            series.append(line)
        else:
            before, _, text = line.rpartition(" ")
            series.append(before)
            texts.append(text)
    layout = _layout(tuple(series), names)
    if layout is None or (values := _numbers(texts, "".join(texts))) is None:
        return None
    last[:] = [_frame(series, layout)]
    return layout, values


@dataclass(frozen=True, slots=True)
class _Frame:
    """Lines without their values, to be compared with others.

    Attributes:
        layout: What they say.
        types: The lines that are not samples, and which they are.
        before: What stands before the values of the others, with the space.
        length: Of all that together, in characters.
        longest: Of that of one line.
    """

    layout: Layout
    types: tuple[tuple[int, str], ...]
    before: tuple[str, ...]
    length: int
    longest: int

    def values(self, lines: Sequence[str]) -> list[float] | None:
        """The values of lines that are the same otherwise; None of any others."""
        samples = [*lines]
        for index, line in self.types:
            if samples[index] != line:
                return None
        for index, _ in reversed(self.types):
            del samples[index]
        texts = [*map(str.removeprefix, samples, self.before)]
        joined = "".join(texts)
        # A line that begins in another way is left as it is, and so it all is too long.
        if len(joined) + self.length != sum(map(len, samples)):
            return None
        if " " in joined or len(joined) + self.longest > MAX_LINE:
            return None
        return _numbers(texts, joined)


@lru_cache(maxsize=_CACHED_LAYOUTS)
def _last_like(number: int, last: str, names: frozenset[str]) -> list[_Frame]:  # noqa: ARG001
    """Where the last frame is kept of so many lines of which the last is this one; or nothing."""
    return []


def _frame(series: Sequence[str], layout: Layout) -> _Frame:
    before = tuple(f"{text} " for text in series if not text.startswith("#"))
    return _Frame(
        layout=layout,
        types=tuple((index, text) for index, text in enumerate(series) if text.startswith("#")),
        before=before,
        length=sum(map(len, before)),
        longest=max(map(len, before), default=0),
    )


def _numbers(texts: Sequence[str], joined: str) -> list[float] | None:
    """Values, finite or NaN; None when one is something else."""
    if "_" in joined:
        return None
    try:
        values = [*map(float, texts)]
    except ValueError:
        return None
    if not math.isfinite(sum(values)) and (math.inf in values or -math.inf in values):
        return None
    return values


@lru_cache(maxsize=_CACHED_LAYOUTS)
def _layout(series: tuple[str, ...], names: frozenset[str]) -> Layout | None:
    """Of lines without their values; None when that is not all that is to be said of them."""
    places: dict[str, list[Place]] = {}
    types: dict[str, str] = {}
    index = 0
    for text in series:
        if text.startswith("#"):
            take_type(text, types)
            continue
        try:
            name, labels = series_of(text)
        except ExpositionError:
            return None
        if name is None:
            return None
        if name in names:
            places.setdefault(name, []).append((labels, index))
        index += 1
    return Layout({name: tuple(found) for name, found in places.items()}, types)
