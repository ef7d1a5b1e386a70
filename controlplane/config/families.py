"""The metric families that a user names, each with the units that it can have."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from controlplane.config.values import Settings

FamilyName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,255}$")]

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}$")]

LabelSelection = Annotated[dict[LabelName, str], Field(max_length=16)]
"""Samples count that have all of these labels. ``*`` at the beginning or the end of a value stands
for anything, ``!`` before it for all that is not like it."""

TimeUnit = Literal["s", "ms", "us"]
QueueUnit = Literal["requests", "texts"]
MemoryUnit = Literal["bytes", "KiB", "MiB", "GiB", "fraction", "percent"]


class CountFamily(Settings):
    """A gauge or a counter of requests.

    Attributes:
        family: Its name as exposed; of a counter with or without ``_total``.
        labels: Which samples count; those that do are summed.
    """

    family: FamilyName
    labels: LabelSelection = Field(default_factory=dict)


class QueueFamily(CountFamily):
    """A gauge of what waits or is being computed.

    Attributes:
        unit: What it counts: requests, or texts, of which a request may have many.
    """

    unit: QueueUnit = "requests"


class LatencyFamily(Settings):
    """Request durations.

    Attributes:
        family: As exposed, without ``_bucket``, ``_sum`` or ``_count``.
        kind: A histogram; a summary, of which sum and count are read and its quantiles are not,
            because they cannot be put together; or two counters: the total duration, and `count`.
        count: The counter of requests (``counters`` only).
        unit: Of the durations.
        labels: Which samples count; those that do are summed.
    """

    family: FamilyName
    kind: Literal["histogram", "summary", "counters"] = "histogram"
    count: FamilyName | None = None
    unit: TimeUnit = "s"
    labels: LabelSelection = Field(default_factory=dict)

    @model_validator(mode="after")
    def _count_goes_with_counters(self) -> Self:
        if (self.kind == "counters") != (self.count is not None):
            raise ValueError(
                "kind counters and count go together: family is the counter of the total"
                " duration, count that of the requests"
            )
        return self


class MemoryFamily(Settings):
    """GPU memory in use.

    Attributes:
        family: The gauge's name as exposed.
        unit: Of its samples; with a fraction or a percentage there is no total to give.
        labels: Which samples count; those of one GPU are summed.
        gpu_label: The label that holds a GPU's UUID.
    """

    family: FamilyName
    unit: MemoryUnit = "bytes"
    labels: LabelSelection = Field(default_factory=dict)
    gpu_label: LabelName = "gpu_uuid"

    @property
    def is_fraction(self) -> bool:
        """Whether it needs no total."""
        return self.unit in ("fraction", "percent")


class MemoryTotalFamily(Settings):
    """The GPU memory there is.

    Attributes:
        family: The gauge's name as exposed.
        plus: More gauges to be added to it, for servers that expose used, free and reserved.
        unit: Of the samples of all of them.
        labels: Which samples count; those of one GPU are summed.
    """

    family: FamilyName
    plus: Annotated[tuple[FamilyName, ...], Field(strict=False, max_length=4)] = ()
    unit: Literal["bytes", "KiB", "MiB", "GiB"] = "bytes"
    labels: LabelSelection = Field(default_factory=dict)
