"""How large a pool's requests are: what Envoys sampled of them in, a threshold between classes out.

A histogram of the bytes of request bodies that forgets: bins of a quarter octave, in each the
requests and their bytes. Envoys tell of a part of the requests only, so it says which part of the
requests and of the bytes is how large, and load reports say how many there are.

Answers are counted from the same samples. Unlike load reports, which count tries, a sample is a
request with all its tries and the time that its client waited. Envoys sample at random.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS_PER_OCTAVE: Final = 4
OCTAVES: Final = 26
"""From 1 B to 64 MiB; what is larger counts as so large."""
HALF_LIFE: Final = 60.0
"""Seconds after which a request counts half."""
REMEMBERED: Final = 200.0
"""Requests that are not forgotten however long ago they were: with less, a pool without traffic for
some minutes would begin anew. Of them a class of one request in a hundred has two."""

ENOUGH: Final = 20.0
"""Number of newest requests that tell whether sizes have changed."""

MOST_PLACES: Final = 256
"""Places with sizes of their own at most: an Envoy can invent names of zones."""

_NONE: Final = 1e-3
"""Requests of which so little is left are forgotten."""

LATELY: Final = 3.0
"""Seconds after which a request counts half, for what comes just now."""
OTHER: Final = 3.0
"""Standard errors by which the newest requests must be other ones than before."""

LARGEST: Final = 1 << OCTAVES

_BINS: Final = BINS_PER_OCTAVE * OCTAVES + 1
_EDGES: Final = np.array(
    [math.ceil(2 ** (index / BINS_PER_OCTAVE)) for index in range(_BINS)], dtype=np.int64
)
"""The least whole number of bytes of each bin; below 5 some bins are empty."""

Bins = NDArray[np.float64]


class Sample(NamedTuple):
    """One request, as an Envoy reports it.

    Attributes:
        class_name: Of that cluster; empty for the pool's own.
        host: The replica; empty, with port 0, where the request reached none.
        seconds: From its first byte to the last one of the answer.
        status: Of the answer; 0 where there was none.
    """

    pool: str
    class_name: str
    host: str
    port: int
    bytes: int
    seconds: float
    status: int


@dataclass(frozen=True, slots=True)
class Side:
    """The requests on one side of a threshold, as many as were sampled and not forgotten.

    `squares` is the sum over requests of bytes², at most 2 % too small.
    """

    requests: float
    bytes: float
    squares: float

    @property
    def mean(self) -> float:
        """Bytes of a request; NaN where there is none."""
        return self.bytes / self.requests if self.requests else math.nan


@dataclass(frozen=True, slots=True)
class Split:
    """A threshold in bytes of body, from which on a request is above, and both sides of it.

    `explained` is the fraction of the variance of the logarithm of the sizes that is between the
    sides: 1 where each side is of one size, 0.64 for a lognormal distribution.
    `above_lately` is the fraction of the newest requests that are above, where that is plainly
    another one than of all requests; else that.
    """

    threshold: int
    below: Side
    above: Side
    explained: float
    above_lately: float

    @property
    def separation(self) -> float:
        """How many times larger the mean request above is than the one below; NaN without both."""
        return self.above.mean / self.below.mean

    @property
    def requests_above(self) -> float:
        """The fraction of the requests that are above: times their true rate, that of those."""
        total = self.below.requests + self.above.requests
        return self.above.requests / total if total else 0.0

    @property
    def bytes_above(self) -> float:
        """The fraction of the bytes that are above."""
        total = self.below.bytes + self.above.bytes
        return self.above.bytes / total if total else 0.0


class Sizes:
    """The sizes of one pool's requests of late."""

    __slots__ = ("_at", "_bytes", "_lately", "_requests")

    def __init__(self) -> None:
        self._at = -math.inf
        self._requests: Bins = np.zeros(_BINS)
        self._bytes: Bins = np.zeros(_BINS)
        self._lately: Bins = np.zeros(_BINS)

    def copy(self) -> "Sizes":
        """The same, for whoever tries something."""
        other = Sizes()
        other._at = self._at
        other._requests, other._bytes = self._requests.copy(), self._bytes.copy()
        other._lately = self._lately.copy()
        return other

    def add(self, sizes: Sequence[int], now: float) -> None:
        """Take in the bytes of request bodies; without a body it is no request for an embedding."""
        found = np.array([min(size, LARGEST) for size in sizes if size > 0], dtype=np.int64)
        if not found.size:
            return
        self._forget(now)
        bins = np.searchsorted(_EDGES, found, side="right") - 1
        counts = np.bincount(bins, minlength=_BINS)
        self._requests += counts
        self._lately += counts
        self._bytes += np.bincount(bins, weights=found, minlength=_BINS)

    def _forget(self, now: float) -> None:
        elapsed, total = now - self._at, self.samples
        if total > REMEMBERED and elapsed > 0:
            factor = max(0.5 ** (elapsed / HALF_LIFE), REMEMBERED / total)
            self._requests *= factor
            self._bytes *= factor
            gone = self._requests < _NONE
            self._requests[gone] = self._bytes[gone] = 0.0
        if elapsed > 0:
            self._lately *= 0.5 ** (elapsed / LATELY)
        self._at = max(now, self._at)

    @property
    def samples(self) -> float:
        """Requests, those of some time ago counted as less than one."""
        return float(self._requests.sum())

    @property
    def mean(self) -> float:
        """Bytes of a request; NaN where none was seen."""
        total = self.samples
        return float(self._bytes.sum()) / total if total else math.nan

    @property
    def newest_mean(self) -> float:
        """Bytes of the newest requests where they are of another size than usual, else `mean`."""
        newest, usual, whole = float(self._lately.sum()), self.mean, self.whole
        if newest < ENOUGH:
            return usual
        used = self._requests > 0
        mean = float(self._lately[used] @ (self._bytes[used] / self._requests[used])) / newest
        variance = max(whole.squares / whole.requests - usual**2, 0.0)
        return mean if abs(mean - usual) > OTHER * math.sqrt(variance / newest) else usual

    @property
    def whole(self) -> Side:
        """All requests together."""
        return self._split(_BINS, LARGEST).below

    def quantile(self, q: float) -> float:
        """Bytes that a part of the requests do not exceed, at most 19 % off; NaN without any."""
        total = self.samples
        if not total:
            return math.nan
        counts = np.cumsum(self._requests)
        index = int(np.searchsorted(counts, q * counts[-1] * (1 - 1e-12)))
        index = max(index, int(np.flatnonzero(self._requests)[0]))
        return float(self._bytes[index] / self._requests[index])

    def split(self, threshold: int) -> Split:
        """Sum up both sides of a threshold, which counts as the nearest bound of bins."""
        index = int(np.abs(np.log(_EDGES) - math.log(max(threshold, 1))).argmin())
        # Of bins that begin at the same size the last one has the requests of that size.
        return self._split(int(np.searchsorted(_EDGES, _EDGES[index])), threshold)

    def _split(self, index: int, threshold: int) -> Split:
        squares = np.divide(
            self._bytes**2, self._requests, out=np.zeros(_BINS), where=self._requests > 0
        )

        def side(part: slice) -> Side:
            return Side(
                *(float(each[part].sum()) for each in (self._requests, self._bytes, squares))
            )

        below, above = side(slice(None, index)), side(slice(index, None))
        return Split(threshold, below, above, self._explained(index), self._above_lately(index))

    def _above_lately(self, index: int) -> float:
        """The fraction of the newest requests that are in a bin or above; see `Split`."""
        usual = float(self._requests[index:].sum()) / max(self.samples, 1e-9)
        newest = float(self._lately.sum())
        expected, came = usual * newest, float(self._lately[index:].sum())
        is_other = abs(came - expected) > OTHER * math.sqrt(max(expected, 1.0))
        return came / newest if is_other else usual

    def _weights(self) -> tuple[NDArray[np.intp], Bins, Bins]:
        """Of the bins with requests: which they are, what they weigh, and their log of the bytes.

        Half of a bin's weight is that of its requests and half that of its bytes, so that neither
        a few large requests nor many small ones go under.
        """
        used = np.flatnonzero(self._requests)
        requests, sizes = self._requests[used], self._bytes[used]
        weights = requests / requests.sum() + sizes / sizes.sum()
        return used, weights / weights.sum(), np.log2(sizes / requests)

    def _explained(self, index: int) -> float:
        """Return the part of the variance that a split before this bin explains."""
        used, weights, logs = self._weights()
        sides = [(weights[each], logs[each]) for each in (used < index, used >= index)]
        within = sum(_variance(*each) for each in sides)
        whole = _variance(weights, logs)
        return 1 - within / whole if whole else 0.0

    def threshold(self) -> Split | None:
        """The threshold that parts the sizes best; None where all requests are in one bin.

        Otsu's method on the logarithm of the bytes: the threshold with the most variance between
        both sides.
        """
        used, weights, logs = self._weights()
        if used.size < 2:
            return None
        below = np.cumsum(weights)[:-1]
        moment = np.cumsum(weights * logs)
        between = (moment[-1] * below - moment[:-1]) ** 2 / (below * (1 - below))
        best = int(between.argmax())
        # Any threshold between the two bins says the same of what was seen; the middle one is least
        # likely to be crossed by what was not.
        index = int(used[best] + 1 + used[best + 1]) // 2
        return self._split(index, int(_EDGES[index]))


def _variance(weights: Bins, values: Bins) -> float:
    """The sum of squared differences from the mean, each times its weight."""
    total = float(weights.sum())
    if not total:
        return 0.0
    mean = float(weights @ values) / total
    return float(weights @ (values - mean) ** 2)


class RequestSizes:
    """The sizes of a pool's recent requests: of all, by class, by the Envoys' place."""

    __slots__ = ("all", "by_class", "by_place")

    def __init__(self) -> None:
        self.all = Sizes()
        self.by_class: dict[str, Sizes] = {}
        self.by_place: dict[Hashable, Sizes] = {}

    def add(
        self, class_name: str, sizes: Sequence[int], now: float, place: Hashable = None
    ) -> None:
        """Take in requests of a class that an Envoy at some place sent; see `Sizes.add`."""
        self.all.add(sizes, now)
        self.by_class.setdefault(class_name, Sizes()).add(sizes, now)
        if place in self.by_place or (place is not None and len(self.by_place) < MOST_PLACES):
            self.by_place.setdefault(place, Sizes()).add(sizes, now)

    def copy(self) -> "RequestSizes":
        """The same, for whoever tries something."""
        other = RequestSizes()
        other.all = self.all.copy()
        other.by_class = {name: each.copy() for name, each in self.by_class.items()}
        other.by_place = {place: each.copy() for place, each in self.by_place.items()}
        return other


BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds; upper bounds of the buckets, the one without a bound left out."""

TOO_MANY_REQUESTS: Final = 429


@dataclass(slots=True)
class Answers:
    """Requests of one class, since the control plane began.

    Attributes:
        errors: Answered with 429 or 5xx, by a replica or by Envoy.
        abandoned: Their client left before the answer.
        slow: Those among `ok` and `abandoned` that took longer than the objective.
        seconds: That all of `ok` took.
    """

    ok: int = 0
    errors: int = 0
    abandoned: int = 0
    slow: int = 0
    seconds: float = 0.0
    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def add(self, samples: Iterable[Sample], objective: float | None) -> None:
        """Count requests of the class; `objective`: the seconds that one may take."""
        for sample in samples:
            if sample.status == TOO_MANY_REQUESTS or sample.status >= 500:
                # An error is fast or slow for its own reasons, and counts against another promise.
                self.errors += 1
                continue
            if sample.status:
                self.ok += 1
                self.seconds += sample.seconds
                self._counts[bisect_left(BOUNDS, sample.seconds)] += 1
            else:
                self.abandoned += 1
            self.slow += objective is not None and sample.seconds > objective

    @property
    def results(self) -> Mapping[str, int]:
        """How many there were, by how they ended."""
        return {"ok": self.ok, "error": self.errors, "abandoned": self.abandoned}

    @property
    def buckets(self) -> tuple[int, ...]:
        """How many of `ok` took at most each of `BOUNDS`, and the number of all of them."""
        return tuple(accumulate(self._counts))


MOST_COUNTED: Final = 256
"""Counts of a pool, by class and place, that stay though no Envoy runs there any more."""

Arisen = Mapping[tuple[str, Hashable], float]
"""Requests so far, by class and place."""


class Arrivals:
    """Counts that only grow, as long as Envoys run at a place.

    A request counts when it is sent and not when it ends: where queues grow fewer end than come.
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, Hashable] = {}
        self._counts: dict[str, dict[tuple[str, Hashable], float]] = {}

    def copy(self) -> "Arrivals":
        """Copy the counts, for a reader."""
        other = Arrivals()
        other._counts = {pool: dict(counts) for pool, counts in self._counts.items()}
        return other

    def of(self, pool: str) -> Arisen:
        return self._counts.get(pool, {})

    def came(self, reporter: Hashable, place: Hashable) -> None:
        """Take note of where an Envoy runs that is about to report."""
        self._places[reporter] = place

    def left(self, reporter: Hashable) -> None:
        """An Envoy has gone. One that connects anew is counted on."""
        self._places.pop(reporter, None)
        for counts in self._counts.values():
            # Names of places are anybody's invention.
            if len(counts) > MOST_COUNTED:
                used = {*self._places.values()}
                for key in [key for key in counts if key[1] not in used]:
                    del counts[key]

    def forget(self, pool: str) -> None:
        self._counts.pop(pool, None)

    def sent(self, pool: str, reporter: Hashable, requests: Mapping[str, float]) -> None:
        """Count what an Envoy has sent to a pool since it reported last, by class."""
        if reporter not in self._places:
            return
        place, counts = self._places[reporter], self._counts.setdefault(pool, {})
        for name, count in requests.items():
            counts[name, place] = counts.get((name, place), 0) + max(count, 0)
