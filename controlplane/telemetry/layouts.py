"""What repeats from scrape to scrape and from replica to replica: all of a text but its values."""

import math
import re
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, TypeVar

from controlplane.telemetry.profile import Source, counter_names

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
        """Return the message with the part of the text that it is about."""
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
    """Read ``{name="value",…}``."""
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
    """Make foreign text safe for a log: ASCII, on one line, short."""
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


K = TypeVar("K")
V = TypeVar("V")


class Newest(Generic[K, V]):
    """A cache of the newest values, bounded in size. Several threads may use it."""

    def __init__(self, most: int, room: int) -> None:
        """Hold at most `most` entries, whose sizes add up to at most `room`."""
        self._most, self._room = most, room
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            self._entries.move_to_end(key)
            return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value; the newest stays even where it is larger than the bound."""
        with self._lock:
            _, before = self._entries.pop(key, (None, 0))
            self._entries[key] = value, size
            self._size += size - before
            while len(self._entries) > self._most or (
                self._size > self._room and len(self._entries) > 1
            ):
                _, (_, gone) = self._entries.popitem(last=False)
                self._size -= gone

    def clear(self) -> None:
        self._entries.clear()
        self._size = 0


_MOST_LAYOUTS: Final = 1_024
"""Expositions of which everything but the values is remembered; replicas of a kind share one."""
_MOST_CHARACTERS: Final = 8_000_000
"""Of their lines, altogether: a thousand replicas that all have labels of their own come to half of
that, and one that changes them at every scrape to no more."""

Place = tuple[Labels, int]
"""The labels of a wanted sample, and which of the values is its."""


@dataclass(frozen=True, slots=True)
class Layout:
    """All of an exposition's wanted part but its values: the same from scrape to scrape.

    Attributes:
        places: By sample name, such as ``te_request_duration_bucket``.
        repeated: How many samples stood there once more with the same labels.
        known: A cache of what follows from the layout alone.
    """

    places: Mapping[str, tuple[Place, ...]]
    types: Mapping[str, str]
    repeated: int = 0
    known: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def of(self, source: Source, suffix: str = "") -> Sequence[Place]:
        """Where the samples of a family are that have the labels its source asks for."""
        for family in source.families:
            if (found := self.places.get(family + suffix)) is not None:
                return self._counting(found, source)
        return ()

    def family_of(self, source: Source, suffix: str = "") -> str:
        """The name under which a family is exposed; its first name where it is not."""
        there = (name for name in source.families if name + suffix in self.places)
        return next(there, source.family)

    def of_counter(self, source: Source) -> Sequence[Place]:
        """The same of a counter, under whichever of its two spellings it is exposed."""
        for family in counter_names(source):
            if found := self._counting(self.places.get(family, ()), source):
                return found
        return ()

    def _counting(self, places: Sequence[Place], source: Source) -> Sequence[Place]:
        if source.labels:
            places = [place for place in places if source.takes(place[0].values)]
        return first_ranks(places, source.copies) if source.copies else places


def first_ranks(places: Sequence[Place], copies: Sequence[str]) -> list[Place]:
    """Of samples that differ in these labels alone, the one of the first rank."""

    def rank(place: Place) -> tuple[tuple[int, str], ...]:
        values = (place[0].values.get(name, "") for name in copies)
        return tuple((int(each) if each.isdecimal() else -1, each) for each in values)

    first: dict[Hashable, Place] = {}
    for place in places:
        labels = place[0]
        rest = tuple(label for label in labels.others if label[0] not in copies)
        known = first.setdefault((rest, labels.bound), place)
        if rank(place) < rank(known):
            first[rest, labels.bound] = place
    return list(first.values())


def layout_of(samples: Iterable[tuple[str, Place]], types: Mapping[str, str]) -> Layout:
    """The layout of samples, in the order of the text.

    Of two with the same labels the first counts, as it does for Prometheus.
    """
    places: dict[str, list[Place]] = {}
    seen: set[Hashable] = set()
    repeated = 0
    for name, place in samples:
        key = (name, place[0].others, place[0].bound)
        if key in seen:
            repeated += 1
        else:
            seen.add(key)
            places.setdefault(name, []).append(place)
    return Layout({name: tuple(found) for name, found in places.items()}, types, repeated)


def take_type(line: str, types: dict[str, str]) -> None:
    """Read ``# TYPE name type``."""
    words = line.split()
    types[words[2]] = words[3] if len(words) > 3 else "untyped"


def as_before(lines: Sequence[str], names: frozenset[str]) -> tuple[Layout, list[float]] | None:
    """Read only the values of lines whose layout was seen; None where that is not enough."""
    if not lines or max(map(len, lines)) > MAX_LINE:
        return None
    series, texts = [], []
    for line in lines:
        if line[0] == "#":
            series.append(line)
        else:
            before, _, text = line.rpartition(" ")
            series.append(before)
            texts.append(text)
    key = (tuple(series), names)
    if key not in _layouts:
        _layouts.put(key, _layout(*key), sum(map(len, series)))
    layout = _layouts.get(key)
    values = _numbers(texts) if layout is not None else None
    return (layout, values) if layout is not None and values is not None else None


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """Values, finite or NaN; None when one is something else."""
    if "_" in "".join(texts):
        return None
    try:
        values = [*map(float, texts)]
    except ValueError:
        return None
    if not math.isfinite(sum(values)) and (math.inf in values or -math.inf in values):
        return None
    return values


def _layout(series: tuple[str, ...], names: frozenset[str]) -> Layout | None:
    """The layout of lines without their values; None where a line is unusual."""
    samples: list[tuple[str, Place]] = []
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
            samples.append((name, (labels, index)))
        index += 1
    return layout_of(samples, types)


_layouts: Final[Newest[tuple[tuple[str, ...], frozenset[str]], Layout | None]] = Newest(
    _MOST_LAYOUTS, _MOST_CHARACTERS
)
