"""What repeats from scrape to scrape and from replica to replica: all of a text but its values."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.signals.newest import Newest
from controlplane.signals.profile import Source, spellings
from controlplane.signals.series import MAX_LINE, ExpositionError, Labels, series_of

_KEPT: Final = 1_024
"""Expositions of which everything but the values is remembered; replicas of a kind share one."""
_KEPT_CHARACTERS: Final = 8_000_000
"""Of their lines, altogether: a thousand replicas that all have labels of their own come to half of
that, and one that changes them at every scrape to no more."""

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
    like = (len(lines), lines[-1].rpartition(" ")[0], names)
    last = _frames.get(like)
    if last is not None and (values := last.values(lines)) is not None:
        return last.layout, values
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
    frame = _frame(tuple(series), names)
    if frame is None or (values := _numbers(texts, "".join(texts))) is None:
        return None
    _frames.put(like, frame, frame.length)
    return frame.layout, values


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


def _frame(series: tuple[str, ...], names: frozenset[str]) -> _Frame | None:
    """Of lines without their values; None when that is not all that is to be said of them."""
    if (series, names) not in _layouts:
        layout = _layout(series, names)
        before = tuple(f"{text} " for text in series if not text.startswith("#"))
        frame = None
        if layout is not None:
            types = [(at, text) for at, text in enumerate(series) if text.startswith("#")]
            lengths = [*map(len, before)]
            frame = _Frame(layout, tuple(types), before, sum(lengths), max(lengths, default=0))
        _layouts.put((series, names), frame, 2 * sum(map(len, series)))
    return _layouts.get((series, names))


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


_layouts: Final[Newest[tuple[tuple[str, ...], frozenset[str]], _Frame | None]] = Newest(
    _KEPT, _KEPT_CHARACTERS
)
_frames: Final[Newest[tuple[int, str, frozenset[str]], _Frame]] = Newest(_KEPT, _KEPT_CHARACTERS)
