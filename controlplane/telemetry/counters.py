"""What a process only counts up, as one value: sums and differences of it, of any series."""

from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import itemgetter, lt
from typing import Final, NamedTuple

from controlplane.telemetry.batches import BatchError, BatchTotals, batch_sums
from controlplane.telemetry.exposition import Exposition
from controlplane.telemetry.histogram import latency_of
from controlplane.telemetry.layouts import ExpositionError, Labels, Layout, Place
from controlplane.telemetry.profile import Profile
from controlplane.telemetry.sums import counter

_SUFFIXES: Final = ("_bucket", "_sum", "_count", "_total")


class Counters(NamedTuple):
    """What a process has counted since it started; None where it does not say.

    `counts` has requests by bucket, cumulative, and `total` the seconds that they took.
    """

    counts: tuple[float, ...] | None = None
    total: float = 0.0
    errors: float | None = None
    tokens: float | None = None
    batches: BatchTotals | None = None

    @property
    def requests(self) -> float:
        """Requests whose duration was measured."""
        return self.counts[-1] if self.counts else 0.0

    def plus(self, other: "Counters", times: float = 1.0) -> "Counters":
        """The sum with another one, or with so many times it."""
        return Counters(
            _added(self.counts, other.counts, times),
            self.total + times * other.total,
            _sum(self.errors, other.errors, times),
            _sum(self.tokens, other.tokens, times),
            _batches(self.batches, other.batches, times),
        )


NOTHING: Final = Counters()


def _sum(one: float | None, other: float | None, times: float) -> float | None:
    return one if other is None else (one or 0.0) + times * other


def _added(
    one: tuple[float, ...] | None, other: tuple[float, ...] | None, times: float
) -> tuple[float, ...] | None:
    if other is None:
        return one
    return tuple(a + times * b for a, b in zip_longest(one or (), other, fillvalue=0.0))


def _batches(
    one: BatchTotals | None, other: BatchTotals | None, times: float
) -> BatchTotals | None:
    if one is None or other is None:
        return one if other is None else BatchTotals(*(times * each for each in other))
    # What one of the two does not say the other's difference does not change.
    return BatchTotals(*(a if b != b else a + times * b for a, b in zip(one, other, strict=True)))


Group = tuple[str, tuple[tuple[str, str], ...]]
"""A family and a label set: what a process counts as one."""


class Mark(NamedTuple):
    """One counted sample."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """The values of the counted samples of one scrape, in the order of the text."""

    layout: Layout
    profile: Profile
    values: "array[float]"

    def has_less_than(self, before: "Series") -> bool:
        """Whether a counter of the same layout went down."""
        values, known = self.values, before.values
        return values != known and any(map(lt, values, known))

    def groups(self) -> dict[Group, tuple[Mark, ...]]:
        """All of them, by family and label set."""
        found: dict[Group, list[Mark]] = {}
        marked = _marked(self.layout, self.profile)
        for (name, labels, _), value in zip(marked, self.values, strict=True):
            found.setdefault((family_of(name), labels.others), []).append(Mark(name, labels, value))
        return {group: tuple(marks) for group, marks in found.items()}


def family_of(name: str) -> str:
    """The family that a sample is of."""
    return next((name.removesuffix(each) for each in _SUFFIXES if name.endswith(each)), name)


def _marked(layout: Layout, profile: Profile) -> list[tuple[str, Labels, int]]:
    found = [
        (name, labels, index)
        for name in profile.counters
        for labels, index in layout.places.get(name, ())
    ]
    return sorted(found, key=itemgetter(2))


Picker = Callable[[Sequence[float]], Iterable[float]]


def picker(layout: Layout, profile: Profile) -> Picker:
    """Return what picks the counted values out of all values of expositions of one layout."""
    indices = [index for _, _, index in _marked(layout, profile)]
    if len(indices) > 1:
        return itemgetter(*indices)
    return lambda values: [values[index] for index in indices]


def counters_of(groups: Mapping[Group, Iterable[Mark]], profile: Profile) -> Counters:
    """What some label sets have counted; what cannot be read of them is nothing."""
    places: dict[str, list[Place]] = {}
    values: list[float] = []
    for marks in groups.values():
        for mark in marks:
            places.setdefault(mark.name, []).append((mark.labels, len(values)))
            values.append(mark.value)
    layout = Layout({name: tuple(found) for name, found in places.items()}, {})
    exposition = Exposition(layout, values)
    found = Counters()
    try:
        if (latency := latency_of(exposition, profile.latency)) is not None:
            found = Counters(latency[1].counts, latency[1].total)
    except ExpositionError:
        pass
    try:
        found = found._replace(errors=counter(layout, profile.errors).of(values))
        found = found._replace(tokens=counter(layout, profile.tokens).of(values))
        if (sums := batch_sums(layout, profile.batches)) is not None:
            found = found._replace(batches=sums.of(values))
    except (ExpositionError, BatchError):
        pass
    return found


def went_down(marks: Iterable[Mark], before: Iterable[Mark]) -> bool:
    """Whether a label set has counted less than before."""
    known: dict[Hashable, float] = {(each.name, each.labels.bound): each.value for each in before}
    return any(each.value < known.get((each.name, each.labels.bound), each.value) for each in marks)
