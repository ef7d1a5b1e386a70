"""How a pool's replicas are scraped: a named profile, or the families of their own exposition."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from controlplane.settings.values import Duration, Settings, UrlPath

FamilyName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,255}$")]

Unit = Literal["s", "ms", "us", "bytes", "KiB", "MiB", "GiB", "fraction", "percent", "1"]
"""What one unit of a sample is worth; latencies become seconds, memory bytes or a fraction."""


class Family(Settings):
    """One metric family and how to read it.

    Attributes:
        family: The family's name as exposed, without ``_bucket``, ``_sum`` or ``_count``.
        unit: Of its samples.
        labels: Only samples with these label values count; samples that are left are summed.
    """

    family: FamilyName
    unit: Unit = "1"
    labels: dict[str, str] = Field(default_factory=dict, max_length=16)


class MetricsSettings(Settings):
    """Where a replica's exposition is and which families mean what.

    Attributes:
        profile: A server whose families are known, or ``prometheus``: they are given here.
        path: Where the exposition is served.
        interval: Seconds between two scrapes of a replica, which is also a scrape's deadline.
        latency: Histogram of request durations (``prometheus`` only).
        memory_used: Gauge of GPU memory in use.
        memory_total: Gauge of the GPU memory there is.
        queue: Gauge of requests that wait.
        errors: Counter of requests that failed.
    """

    profile: Literal["tei", "prometheus"] = "tei"
    path: UrlPath = "/metrics"
    interval: Duration = 0.5
    latency: Family | None = None
    memory_used: Family | None = None
    memory_total: Family | None = None
    queue: Family | None = None
    errors: Family | None = None

    @model_validator(mode="after")
    def _families_fit_profile(self) -> Self:
        given = [
            name
            for name in ("latency", "memory_used", "memory_total", "queue", "errors")
            if getattr(self, name) is not None
        ]
        if self.profile == "prometheus":
            if self.latency is None:
                raise ValueError(
                    "profile prometheus needs latency: {family: …, unit: s}, the histogram of"
                    " request durations"
                )
            if self.latency.unit not in ("s", "ms", "us"):
                raise ValueError(f"latency is in s, ms or us, not in {self.latency.unit}")
        elif given:
            raise ValueError(
                f"{given[0]} is known for profile {self.profile}: leave it out, or choose profile"
                " prometheus"
            )
        if (self.memory_used is None) != (self.memory_total is None) and not (
            self.memory_used is not None and self.memory_used.unit in ("fraction", "percent")
        ):
            raise ValueError(
                "memory_used and memory_total go together, unless memory_used is a fraction"
            )
        return self
