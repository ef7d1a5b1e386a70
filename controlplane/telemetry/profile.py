"""What a profile is: which families of an exposition mean what, as data.

In come a pool's `MetricsSettings`; out comes the `Profile` that `read` goes by, of `servers` or
spelt out by the user.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Final, Literal

from controlplane.config import CountFamily, MetricsSettings, QueueUnit

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
    # A fraction in some releases of an exporter, a percentage in others.
    "ratio": 1.0,
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
        others: More names of the family: releases differ, and some expose it under two names for a
            while. Of all names only the first that is there is read.
        copies: Labels of ranks that each expose all that their engine has: of samples that differ
            in these labels alone the first rank's counts.
    """

    family: str
    unit: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        """All names, the first one first."""
        return (self.family, *self.others)

    @property
    def scale(self) -> float:
        """The factor from its unit to seconds, bytes, a fraction, or 1."""
        return _SCALES[self.unit] if self.unit else 1.0

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample with these labels counts."""
        return all(_is_like(labels.get(name, ""), value) for name, value in self.labels)

    def narrowed(self, labels: Mapping[str, str]) -> "Source":
        """The same for samples with these labels, whatever was asked of them before."""
        other_labels = (label for label in self.labels if label[0] not in labels)
        return replace(self, labels=(*other_labels, *_labels(labels)))

    def without(self, name: str, values: Iterable[str]) -> "Source":
        """The same but for samples in which a label has one of these values."""
        return replace(self, labels=(*self.labels, *((name, f"!{value}") for value in values)))


@dataclass(frozen=True, slots=True)
class Latency:
    """Where request durations are read from.

    `source` is a histogram, a summary, or the counter of their total; beside that `count` counts
    them.
    """

    source: Source
    kind: Kind = "histogram"
    count: str | None = None

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of the samples that are read."""
        if self.kind == "counters":
            return (*counter_names(self.source), *spellings(self.count or ""))
        suffixes = ("_bucket", "_sum") if self.kind == "histogram" else ("_sum", "_count")
        return tuple(name + suffix for name in self.source.families for suffix in suffixes)


@dataclass(frozen=True, slots=True)
class Memory:
    """Where GPU memory is read from.

    Attributes:
        used: Gauge of what is in use, of one GPU or several.
        total: Gauges that add up to what there is; with none, `used` is a fraction.
        is_uuid: Whether that label is the GPU's uuid.
    """

    used: Source
    total: tuple[Source, ...] = ()
    gpu_label: str = "gpu_uuid"
    is_uuid: bool = True

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that is read."""
        return (self.used, *self.total)


@dataclass(frozen=True, slots=True)
class BatchFamilies:
    """Where the batches that a server computed are read from.

    Attributes:
        count: Counter of batches, of a server without that histogram.
        texts: Counters that add up to the texts computed.
        seconds: Counters that add up to the time of the batch that each was in.
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
        names = {name for source in counters for name in counter_names(source)}
        for histogram in (self.tokens, self.sizes):
            if histogram is not None:
                for family in histogram.families:
                    names |= {f"{family}_bucket", f"{family}_sum"}
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
        latency: Request durations; the first that has counted anything counts. Without any, what
            replicas carry follows from load reports.
        running: Gauge of what is being computed, or that the server has in all.
        queue_unit: What these two count: requests, or the texts in them.
        started: Gauge of when the process started, Unix seconds; only compared with itself.
        model_label: That tells models, or deployments, of one server apart.
        is_layered: Whether a request may be counted for the model that was asked and for each step
            that this one takes.
        entry_label: A label that is empty for steps.
        is_lazy: Before the first request it exposes gauges, and declares no durations.
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
    model_label: str = ""
    is_layered: bool = False
    entry_label: str = ""
    is_lazy: bool = False

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Asked for at every scrape."""
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    @cached_property
    def samples(self) -> frozenset[str]:
        """The names of the samples that are read."""
        gauges = (self.started, self.queue, self.running)
        memory = self.memory.sources if self.memory is not None else ()
        sources = (source for source in (*gauges, *memory) if source is not None)
        return self.counters | {name for source in sources for name in source.families}

    @cached_property
    def counters(self) -> frozenset[str]:
        """The names of those samples that a process only counts up."""
        names = {name for latency in self.latency for name in latency.samples}
        for counter in (self.errors, self.tokens):
            if counter is not None:
                names.update(counter_names(counter))
        if self.batches is not None:
            names |= self.batches.samples
        return frozenset(names)

    @cached_property
    def typed(self) -> frozenset[str]:
        """The families of which the type is looked at."""
        return frozenset(name for latency in self.latency for name in latency.source.families)

    def narrowed(self, labels: Mapping[str, str]) -> "Profile":
        """The profile for one of several models; GPU memory and start are of all of them."""
        if not labels:
            return self

        narrowed = self._each(lambda source: source.narrowed(labels))
        return replace(narrowed, queue=narrowed.queue.narrowed(labels) if narrowed.queue else None)

    def without(self, steps: frozenset[str], strangers: frozenset[str]) -> "Profile":
        """Leave the steps of a request out of the requests of clients; a step's queue still counts.

        Args:
            steps: Values of the model label.
            strangers: Steps that belong to no request of the model that is counted.
        """
        name, queue = self.model_label, self.queue
        if queue is not None:
            other_labels = tuple(label for label in queue.labels if label[0] != name)
            queue = replace(queue, labels=other_labels).without(name, sorted(strangers))
        counted = self._each(lambda source: source.without(name, sorted(steps)))
        return replace(counted, queue=queue)

    def _each(self, changed: Callable[[Source], Source]) -> "Profile":
        """The same with each source of requests changed, but for what waits."""
        return replace(
            self,
            latency=tuple(replace(each, source=changed(each.source)) for each in self.latency),
            running=changed(self.running) if self.running else None,
            errors=changed(self.errors) if self.errors else None,
            tokens=changed(self.tokens) if self.tokens else None,
            batches=self.batches.narrowed(changed) if self.batches else None,
        )


def spellings(counter: str) -> tuple[str, str]:
    """A counter's name as the text format has it and as OpenMetrics wants it, given either."""
    bare = counter.removesuffix("_total")
    return (bare, f"{bare}_total")


def counter_names(counter: Source) -> tuple[str, ...]:
    """All names under which a counter may be exposed."""
    return tuple(name for family in counter.families for name in spellings(family))


def declared(settings: MetricsSettings) -> Profile:
    """The profile that a user's settings spell out."""
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
