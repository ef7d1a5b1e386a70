"""What a decision is based on: one row a replica, one column a quantity.

`Table.put` writes the row of a replica about which something new is known; a decision reads whole
columns. So a pool of ten thousand replicas costs what has changed in it and some array operations.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Self

import numpy as np

from controlplane.balancing.columns import Bools, Floats, Ints
from controlplane.config.replica import MemorySettings
from controlplane.telemetry import Window
from controlplane.telemetry.batches import BatchTotals
from controlplane.telemetry.load import Failing

ENVOYS: Final = "load reports"
"""Requests in flight as all Envoys together count them."""
OWN: Final = "queue"
"""Requests in flight as the replica itself counts them."""
MIXED: Final = 5.0
"""Newest requests over which the classes of a replica's requests are averaged."""
DEFAULT: Final = ""
"""The class of everything that no other class takes."""
BULK: Final = "bulk"
"""The class of long requests, where requests are parted by size."""
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


class InFlight(NamedTuple):
    """Requests that a replica had at one time, waiting ones included.

    Attributes:
        source: Who counted: `OWN` or `ENVOYS`.
        requests: How many; texts where `are_texts`.
        at: When, seconds of a monotonic clock.
        are_texts: The source counts the texts of requests.
        by_class: The same by the name of their class, where requests are parted.
        ended: Requests that have ended so far, by the name of their class; only differences count.
    """

    source: str
    requests: float
    at: float
    are_texts: bool = False
    by_class: Mapping[str, float] = _NOTHING
    ended: Mapping[str, float] = _NOTHING


class ReplicaInput(NamedTuple):
    """What is known of one replica at the time of a decision.

    Attributes:
        id: Unique in the pool.
        slots: Requests that it computes at the same time; None: unknown.
        generation: Differs after every restart; what was learned before is then forgotten.
        window: Its newest window; None before its first scrape.
        scraped_at: When its last good scrape was, seconds of a monotonic clock; None: never.
        gpu_uuid: The GPU that was declared for it.
        memory: Soft and hard limits of its own; None: the pool's.
        in_flight: What it has in flight, by everyone who counts.
        failing: How its requests ended lately, as Envoys see it; None: none had one.
        ready: Whether it may get traffic; a replica that is not counts for nothing in the pool.
        ready_since: When it became so, seconds of a monotonic clock; None: before anybody looked.
        mark: Another number whenever people are to be told something else of it.
        registrar: Whose word it is that it is on its GPUs, and how full those are; empty: the
            operator's.
    """

    id: str
    slots: int | None = 1
    generation: int = 0
    window: Window | None = None
    scraped_at: float | None = None
    gpu_uuid: str | None = None
    memory: MemorySettings | None = None
    in_flight: tuple[InFlight, ...] = ()
    failing: Failing | None = None
    ready: bool = True
    ready_since: float | None = None
    mark: int = 0
    registrar: str = ""

    @property
    def gpus(self) -> frozenset[str]:
        """The GPUs it is on: declared, and as its own metrics say."""
        declared = (self.gpu_uuid,) if self.gpu_uuid else ()
        memory = self.window.memory if self.window else ()
        return frozenset((*declared, *(gpu.uuid for gpu in memory if gpu.uuid)))

    def gpu_key(self, uuid: str) -> str:
        """Under what the memory of a GPU is kept that it tells of.

        One registrar's word is not believed of the GPUs of another's replicas: a stranger could
        have them drained. So each has keys of its own; the operator's word counts for all.
        """
        return f"{uuid} of {self.registrar}" if self.registrar else uuid


_COLUMNS: Final = (
    "slots",
    "ready",
    "ready_since",
    "scraped_at",
    # Counters since the process started.
    "read_at",
    "requests",
    "seconds",
    "looks",
    "tokens",
    "batches",
    "batch_tokens",
    "middles",
    "squares",
    "texts",
    "batch_seconds",
    "billed",
    "text_middles",
    "text_squares",
    "begun",
    # Of the newest window.
    "errors",
    "samples",
    "latency",
    "rate",
    "token_rate",
    "length",
    # In flight: its own count and that of Envoys.
    "queue",
    "queue_at",
    "queue_texts",
    "reported",
    "reported_at",
    "ended",
    # By the count of Envoys lately: the part that failed, and of how many.
    "failing",
    "failing_of",
    "soft",
    "hard",
)
_PLACE: Final = {name: index for index, name in enumerate(_COLUMNS)}
_EMPTY: Final = tuple([math.nan] * len(_COLUMNS))
_NO_BATCHES: Final = (math.nan,) * len(BatchTotals._fields)


class Table:
    """The inputs of one pool's decisions; rows of replicas that have left are used again."""

    def __init__(self, inputs: Iterable[ReplicaInput] = ()) -> None:
        """Begin with these replicas."""
        self._values: Floats = np.full((8, len(_COLUMNS)), math.nan)
        self._alive: Bools = np.zeros(8, np.bool_)
        self._who: Ints = np.zeros(8, np.int64)
        self._marks: Ints = np.zeros(8, np.int64)
        self._rows: dict[str, int] = {}
        self._ids = [""] * 8
        self._free = [*range(7, -1, -1)]
        self._with_memory: dict[str, ReplicaInput] = {}
        self._classes: dict[str, dict[int, float]] = {}
        self._ended: dict[int, Mapping[str, float]] = {}
        self._come: dict[int, Mapping[str, float]] = {}
        self._sums: dict[str, float] = {}
        self._mix: dict[int, dict[str, float]] = {}
        self.revision = 0
        for each in inputs:
            self.put(each)

    def copy(self) -> Self:
        """The same, to be changed apart."""
        other = type(self)()
        other._values, other._alive = self._values.copy(), self._alive.copy()
        other._who, other._marks = self._who.copy(), self._marks.copy()
        other._rows, other._free = dict(self._rows), list(self._free)
        other._ids = list(self._ids)
        other._with_memory = dict(self._with_memory)
        other._classes = {name: dict(each) for name, each in self._classes.items()}
        other._ended, other._come = dict(self._ended), dict(self._come)
        other._sums = dict(self._sums)
        other._mix = {row: dict(each) for row, each in self._mix.items()}
        other.revision = self.revision
        return other

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._rows

    @property
    def rows(self) -> Mapping[str, int]:
        """The row of each replica, by id."""
        return self._rows

    @property
    def ids(self) -> Sequence[str]:
        """The replica of each row; empty where there is none."""
        return self._ids

    @property
    def size(self) -> int:
        """How many rows there are, used or not."""
        return len(self._alive)

    @property
    def alive(self) -> Bools:
        """Which rows are used."""
        return self._alive

    @property
    def who(self) -> Ints:
        """A number for the replica of each row and its generation; 0 where there is none."""
        return self._who

    @property
    def marks(self) -> Ints:
        """A number by row for the same and what it is marked with."""
        return self._marks

    def column(self, name: str) -> Floats:
        """One quantity of all rows; NaN where it is not known."""
        return self._values[:, _PLACE[name]]

    def class_names(self) -> Iterator[str]:
        """The classes of which Envoys report requests in flight."""
        yield from self._classes

    def in_flight(self, class_name: str) -> Floats:
        """Requests of one class that Envoys have in flight, by row."""
        found = np.zeros(self.size)
        for row, count in self._classes.get(class_name, {}).items():
            found[row] = count
        return found

    def come(self) -> dict[str, float]:
        """Requests that have come so far by the count of Envoys, by class.

        Where queues grow fewer end than come. Only differences count: it begins with nothing, and
        what was counted at a replica before it was known, or before a class was, is left out.
        """
        return dict(self._sums)

    def mean_by_class(self, lengths: Mapping[str, float]) -> Floats:
        """Average a quantity over the newest requests of each replica, by row.

        Args:
            lengths: The quantity for a request of each class.

        Returns:
            NaN where no requests were counted by class, and where one class has no quantity.
        """
        found = np.full(self.size, math.nan)
        for row, counts in self._mix.items():
            total = math.fsum(counts.values())
            if total > 0 and lengths.keys() >= counts.keys():
                found[row] = math.fsum(n * lengths[name] for name, n in counts.items()) / total
        return found

    def with_memory(self) -> Iterable[tuple[str, ReplicaInput]]:
        """Replicas whose GPU is known, with what was put last."""
        return self._with_memory.items()

    def put(self, given: ReplicaInput) -> int:
        """Write what is known of a replica; returns its row."""
        row = self._rows.get(given.id)
        if row is None:
            row = self._new_row(given.id)
        own = reported = None
        for each in given.in_flight:
            if each.source == OWN:
                own = each
            else:
                reported = each
        self._values[row] = _row_of(given, own, reported)
        who = who_is(given.id, given.generation)
        self._count(row, reported, is_same=bool(self._who[row] == who))
        self._who[row] = who
        self._marks[row] = hash((who, given.mark))
        if given.gpu_uuid is not None or (given.window is not None and given.window.memory):
            self._with_memory[given.id] = given
        else:
            self._with_memory.pop(given.id, None)
        self.revision += 1
        return row

    def remove(self, id_: str) -> None:
        """Forget a replica that has left."""
        row = self._rows.pop(id_, None)
        if row is None:
            return
        self._with_memory.pop(id_, None)
        self._values[row], self._ids[row] = _EMPTY, ""
        self._alive[row], self._who[row], self._marks[row] = False, 0, 0
        self._free.append(row)
        self._count(row, None, is_same=False)
        self.revision += 1

    def _count(self, row: int, reported: InFlight | None, *, is_same: bool) -> None:
        """Take what Envoys count of each class at a replica in the place of what they did."""
        by_class, ended = (reported.by_class, reported.ended) if reported else (_NOTHING, _NOTHING)
        for name, known in self._classes.items():
            if name not in by_class:
                known.pop(row, None)
        for name, count in by_class.items():
            self._classes.setdefault(name, {})[row] = count
        before, come_before = self._ended.pop(row, _NOTHING), self._come.pop(row, _NOTHING)
        if ended and reported is not None:
            in_flight = by_class or {DEFAULT: reported.requests}
            come = {name: count + in_flight.get(name, 0.0) for name, count in ended.items()}
            self._ended[row], self._come[row] = ended, come
            for name, count in come.items():
                # An Envoy that makes a host anew forgets what it had in flight there.
                grown = max(count - come_before.get(name, count), 0.0)
                self._sums[name] = self._sums.get(name, 0.0) + grown
        if is_same and len(ended) >= 2:
            self._mix_in(row, before, ended)
        else:
            self._mix.pop(row, None)

    def _mix_in(self, row: int, before: Mapping[str, float], ended: Mapping[str, float]) -> None:
        """Take in which classes the requests that ended since the last input belong to."""
        grown = {name: max(count - before.get(name, 0.0), 0.0) for name, count in ended.items()}
        total = math.fsum(grown.values())
        if total > 0:
            old, left = self._mix.get(row, {}), math.exp(-total / MIXED)
            parts = {name: count / total for name, count in grown.items()}
            if old:
                parts = {n: left * old.get(n, 0.0) + (1 - left) * p for n, p in parts.items()}
            self._mix[row] = parts

    def _new_row(self, id_: str) -> int:
        if not self._free:
            size = self.size
            self._values = np.vstack([self._values, np.full_like(self._values, math.nan)])
            self._alive = np.concatenate([self._alive, np.zeros(size, np.bool_)])
            self._who = np.concatenate([self._who, np.zeros(size, np.int64)])
            self._marks = np.concatenate([self._marks, np.zeros(size, np.int64)])
            self._ids += [""] * size
            self._free = [*range(2 * size - 1, size - 1, -1)]
        row: int = self._free.pop()
        self._rows[id_], self._ids[row] = row, id_
        self._alive[row] = True
        return row


def who_is(id_: str, generation: int) -> int:
    """A number for a replica and its generation, the same as long as this process runs."""
    return hash((id_, generation))


def _row_of(
    given: ReplicaInput, own: InFlight | None, reported: InFlight | None
) -> tuple[float, ...]:
    nan = math.nan
    window = given.window
    counters: tuple[float, ...] = (nan,) * 21
    if window is not None:
        length = nan
        if window.tokens_in is not None and window.samples:
            length = window.tokens_in / window.samples
        counters = (
            window.at,
            window.count,
            window.total,
            nan if window.looks is None else window.looks,
            nan if window.tokens is None else window.tokens,
            *(window.batches_total or _NO_BATCHES),
            window.error_fraction,
            window.samples,
            nan if window.latency is None else window.latency,
            window.rate,
            window.rate * length,
            length,
        )
    memory = given.memory
    return (
        nan if given.slots is None else float(given.slots),
        float(given.ready),
        nan if given.ready_since is None else given.ready_since,
        nan if given.scraped_at is None else given.scraped_at,
        *counters,
        nan if own is None else own.requests,
        nan if own is None else own.at,
        float(own is not None and own.are_texts),
        nan if reported is None else reported.requests,
        nan if reported is None else reported.at,
        math.fsum(reported.ended.values()) if reported is not None and reported.ended else nan,
        *(given.failing or (nan, 0.0)),
        nan if memory is None else memory.soft,
        nan if memory is None else memory.hard,
    )
