"""What a profile is: which families of an exposition mean what, as data.

In come a pool's `MetricsSettings`; out comes the `Profile` that `read` goes by, of `servers` or
spelt out by the user.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Final, Literal

from controlplane.settings import CountFamily, MetricsSettings, QueueUnit

_SCALES: Final = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "bytes": 1.0,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "GiB": 1024.0**3,
    "fraction": 1.0,
    "percent": 0.01,
}
"""What one of each unit is worth in seconds, bytes, or a fraction of 1."""

Kind = Literal["histogram", "summary", "counters"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where one quantity is read from.

    Attributes:
        family: As exposed; of a histogram without ``_bucket`` and ``_sum``, of a counter with or
            without ``_total``.
        unit: Of its samples: ``s``, ``ms``, ``us``, ``bytes``, ``KiB``, ``MiB``, ``GiB``,
            ``fraction``, ``percent``; empty for things counted.
        labels: Names and values that a sample must have to count. ``*`` at the beginning or the
            end of a value stands for anything, and ``!`` before it for all that is not like it.
    """

    family: str
    unit: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def scale(self) -> float:
        """What one unit of its samples is worth in ours: seconds, bytes, a fraction, or 1."""
        return _SCALES[self.unit] if self.unit else 1.0

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample with these labels counts."""
        return all(_is_like(labels.get(name, ""), value) for name, value in self.labels)


@dataclass(frozen=True, slots=True)
class Latency:
    """Where request durations are read from.

    Attributes:
        source: A histogram, a summary, or the counter of the total duration.
        kind: Which of these.
        count: The counter of requests beside a counter of their total duration.
    """

    source: Source
    kind: Kind = "histogram"
    count: str | None = None

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of the samples that are read."""
        if self.kind == "counters":
            return (*spellings(self.source.family), *spellings(self.count or ""))
        suffixes = ("_bucket", "_sum") if self.kind == "histogram" else ("_sum", "_count")
        return tuple(self.source.family + suffix for suffix in suffixes)


@dataclass(frozen=True, slots=True)
class Memory:
    """Where GPU memory is read from.

    Attributes:
        used: Gauge of what is in use, of one GPU or several.
        total: Gauges that add up to what there is; with none, `used` is a fraction.
        also: More that is added to the total where it is exposed.
        gpu_label: The label that tells GPUs apart.
        is_uuid: Whether that label says the same of a GPU everywhere.
        blank: Values from here on say that nothing is known.
    """

    used: Source
    total: tuple[Source, ...] = ()
    also: tuple[Source, ...] = ()
    gpu_label: str = "gpu_uuid"
    is_uuid: bool = True
    blank: float = math.inf

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that is read."""
        return (self.used, *self.total, *self.also)


@dataclass(frozen=True, slots=True)
class BatchFamilies:
    """Where the batches that a server computed are read from.

    Attributes:
        tokens: Histogram of the tokens of each batch.
        sizes: Histogram of the texts of each batch.
        count: Counter of batches, of a server without that histogram.
        texts: Counters of the texts that were computed, which add up.
        seconds: Counters of the time of the batch that each was in, which add up.
        billed: Counters of how many durations `seconds` has, where these are not the texts.
    """

    tokens: Source | None = None
    sizes: Source | None = None
    count: Source | None = None
    texts: tuple[Source, ...] = ()
    seconds: tuple[Source, ...] = ()
    billed: tuple[Source, ...] = ()

    @property
    def samples(self) -> set[str]:
        """The names of the samples that are read."""
        counters = (*self.texts, *self.seconds, *self.billed)
        if self.count is not None:
            counters = (*counters, self.count)
        names = {name for source in counters for name in spellings(source.family)}
        for histogram in (self.tokens, self.sizes):
            if histogram is not None:
                names |= {f"{histogram.family}_bucket", f"{histogram.family}_sum"}
        return names

    def narrowed(self, narrow: Callable[[Source], Source]) -> "BatchFamilies":
        """The same with each source narrowed."""
        return BatchFamilies(
            narrow(self.tokens) if self.tokens else None,
            narrow(self.sizes) if self.sizes else None,
            narrow(self.count) if self.count else None,
            tuple(map(narrow, self.texts)),
            tuple(map(narrow, self.seconds)),
            tuple(map(narrow, self.billed)),
        )


@dataclass(frozen=True)
class Profile:
    """How to read one kind of server; None for what it does not expose.

    Attributes:
        name: As the config file names it.
        latency: Request durations; of several the first that has counted anything.
        memory: GPU memory.
        queue: Gauge of what waits.
        running: Gauge of what is being computed, or that it has in all.
        queue_unit: What these two count: requests, or the texts in them.
        errors: Counter of requests that failed.
        started: Gauge of when the process started, Unix seconds; only compared with itself.
        tokens: Counter of the tokens of the texts that were computed.
        batches: What was computed at a time.
    """

    name: str
    latency: tuple[Latency, ...]
    memory: Memory | None = None
    queue: Source | None = None
    running: Source | None = None
    errors: Source | None = None
    started: Source | None = Source("process_start_time_seconds")
    tokens: Source | None = None
    batches: BatchFamilies | None = None
    queue_unit: QueueUnit = "requests"

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Asked for at every scrape."""
        return hash(tuple(getattr(self, it.name) for it in fields(self)))

    @cached_property
    def samples(self) -> frozenset[str]:
        """The names of the samples that are read."""
        gauges = (self.started, self.queue, self.running)
        names = {source.family for source in gauges if source is not None}
        if self.memory is not None:
            names.update(source.family for source in self.memory.sources)
        for latency in self.latency:
            names.update(latency.samples)
        for counter in (self.errors, self.tokens):
            if counter is not None:
                names.update(spellings(counter.family))
        if self.batches is not None:
            names |= self.batches.samples
        return frozenset(names)

    @cached_property
    def typed(self) -> frozenset[str]:
        """The families of which the type is looked at."""
        return frozenset(latency.source.family for latency in self.latency)

    def narrowed(self, labels: Mapping[str, str]) -> "Profile":
        """The profile for one of several models; GPU memory and start are of all of them."""
        if not labels:
            return self

        def narrow(source: Source) -> Source:
            kept = (label for label in source.labels if label[0] not in labels)
            return replace(source, labels=(*kept, *_labels(labels)))

        return replace(
            self,
            latency=tuple(replace(it, source=narrow(it.source)) for it in self.latency),
            queue=narrow(self.queue) if self.queue else None,
            running=narrow(self.running) if self.running else None,
            errors=narrow(self.errors) if self.errors else None,
            tokens=narrow(self.tokens) if self.tokens else None,
            batches=self.batches.narrowed(narrow) if self.batches else None,
        )


def spellings(counter: str) -> tuple[str, str]:
    """A counter's name as the text format has it and as OpenMetrics wants it, given either."""
    bare = counter.removesuffix("_total")
    return (bare, f"{bare}_total")


def declared(settings: MetricsSettings) -> Profile:
    """The profile that a user's settings spell out.

    Raises:
        ValueError: When they name no latency.
    """
    latency, used, total = settings.latency, settings.memory_used, settings.memory_total
    if latency is None:
        raise ValueError("profile prometheus needs latency")
    memory = None
    if used is not None:
        there_is = [total.family, *total.plus] if total else []
        memory = Memory(
            used=Source(used.family, used.unit, _labels(used.labels)),
            total=tuple(
                Source(family, total.unit, _labels(total.labels))
                for family in there_is
                if total is not None
            ),
            gpu_label=used.gpu_label,
        )
    source = Source(latency.family, latency.unit, _labels(latency.labels))
    return Profile(
        name=settings.profile,
        latency=(Latency(source, latency.kind, latency.count),),
        memory=memory,
        queue=_counted(settings.queue),
        running=_counted(settings.running),
        errors=_counted(settings.errors),
        tokens=_counted(settings.tokens),
        queue_unit=settings.queue_unit,
    )


def _counted(family: CountFamily | None) -> Source | None:
    return Source(family.family, "", _labels(family.labels)) if family else None


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _is_like(value: str, wanted: str) -> bool:
    if wanted.startswith("!"):
        return not _is_like(value, wanted[1:])
    if wanted.startswith("*"):
        return value.endswith(wanted[1:])
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted
