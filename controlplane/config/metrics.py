"""How a pool's replicas are scraped: a named profile, or the families of their own exposition."""

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from controlplane.config.errors import SettingsError
from controlplane.config.families import (
    CountFamily,
    LabelSelection,
    LatencyFamily,
    MemoryFamily,
    MemoryTotalFamily,
    QueueFamily,
    QueueUnit,
)
from controlplane.config.servers import SERVERS, ProfileName
from controlplane.config.values import Address, Duration, EndpointAddress, Settings, UrlPath

FAMILIES: Final = ("latency", "memory_used", "memory_total", "queue", "running", "errors", "tokens")
"""The keys that name families, for profile ``prometheus`` only."""

DeviceProfileName = Literal["dcgm", "amd", "nvidia-smi", "xpumanager", "xpumd", "habana"]
"""The exporters of GPU memory that are known."""

_NOT_SCRAPED: Final = {
    **{
        name: (
            f"{name} tells of GPUs and not of replicas: choose the profile of the server, and"
            f' gpu: {{profile: {name}, addresses: ["127.0.0.1:9400"]}} beside it'
        )
        for name in get_args(DeviceProfileName)
    },
    "orca": (
        "orca reports come with a response, or on a stream to a proxy, and cannot be scraped:"
        " choose the profile of what the server exposes to Prometheus, or none"
    ),
}
"""Names that stand in lists of profiles, and what to write in their place."""


DEFAULT_BYTES: Final = 8 << 20
"""Of an exposition. A Ray node with hundreds of workers exposes 5 MB."""

MaxBytes = Annotated[int, Field(ge=1 << 10, le=64 << 20)]


def _at_most_a_minute(seconds: float) -> float:
    if seconds > 60.0:
        raise ValueError("a scrape may take 60s at most")
    return seconds


Timeout = Annotated[Duration, AfterValidator(_at_most_a_minute)]


class GpuSettings(Settings):
    """Exporters of GPU memory whose readings are joined to the replicas.

    Attributes:
        profile: The exporter.
        addresses: Where it runs; one for each node that has replicas of the pool.
        path: Where the exposition is served.
        interval: Seconds between two scrapes of an exporter. It collects every 30 s itself unless
            it is told otherwise.
        timeout: Seconds for one scrape; by default the interval, at most 10 s.
        max_bytes: Of an exposition; a longer one is a failed scrape.
    """

    profile: DeviceProfileName = "dcgm"
    addresses: Annotated[
        tuple[EndpointAddress, ...], Field(strict=False, min_length=1, max_length=256)
    ]
    path: UrlPath = "/metrics"
    interval: Duration = 10.0
    timeout: Timeout | None = None
    max_bytes: MaxBytes = DEFAULT_BYTES


class MetricsSettings(Settings):
    """Where a replica's exposition is and which families mean what.

    Attributes:
        profile: A server whose families are known; ``prometheus``: they are given here; ``none``:
            the replicas are never scraped.
        path: Where the exposition is served; by default where that server serves it.
        port: Where that is not the port that serves requests; by default the server's own.
        interval: Seconds between two scrapes of a replica.
        timeout: Seconds for one scrape; by default the interval, at most 10 s.
        max_bytes: Of an exposition; a longer one is a failed scrape.
        labels: Narrows a known profile's families to one of several models; not its GPU memory.
        latency: Request durations (this and the following with ``prometheus`` only).
        memory_used: Gauge of GPU memory in use.
        memory_total: Gauge of the GPU memory there is.
        queue: Gauge of requests or texts that wait.
        running: Gauge of requests or texts that are being computed.
        errors: Counter of requests that failed.
        tokens: Counter of the tokens of the texts that were computed.
        gpu: Where to read GPU memory from that the replicas do not expose themselves.
    """

    profile: ProfileName = "tei"
    path: UrlPath = "/metrics"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    interval: Duration = 0.5
    timeout: Timeout | None = None
    max_bytes: MaxBytes = DEFAULT_BYTES
    labels: LabelSelection = Field(default_factory=dict)
    latency: LatencyFamily | None = None
    memory_used: MemoryFamily | None = None
    memory_total: MemoryTotalFamily | None = None
    queue: QueueFamily | None = None
    running: QueueFamily | None = None
    errors: CountFamily | None = None
    tokens: CountFamily | None = None
    gpu: GpuSettings | None = None

    @property
    def is_scraped(self) -> bool:
        """Whether the replicas are asked for metrics at all."""
        return self.profile != "none"

    @property
    def queue_unit(self) -> QueueUnit:
        """What the families given here as queue and running count."""
        given = self.queue or self.running
        return given.unit if given else "requests"

    def where(self, replica: Address) -> Address:
        """Where the exposition of a replica at this address is served."""
        return Address(replica.host, self.port or replica.port)

    def reads_like(self, other: "MetricsSettings") -> bool:
        """Whether what was read of a replica by the other can be compared with what will be."""
        alike: dict[str, Any] = {
            "gpu": None, "interval": 1.0, "timeout": None, "max_bytes": DEFAULT_BYTES,
        }  # fmt: skip
        return self.model_copy(update=alike) == other.model_copy(update=alike)

    @model_validator(mode="before")
    @classmethod
    def _server_defaults(cls, data: Any) -> Any:
        """Fill in where a known server serves its metrics."""
        if not isinstance(data, dict):
            return data
        profile = data.get("profile", "tei")
        if not isinstance(profile, str):
            return data
        if profile in _NOT_SCRAPED:
            raise SettingsError(_NOT_SCRAPED[profile], ("profile",))
        if profile not in SERVERS:
            return data
        server = SERVERS[profile]
        return {"path": server.metrics, "port": server.metrics_port, **data}

    @model_validator(mode="after")
    def _families_fit_profile(self) -> Self:
        given = [name for name in FAMILIES if getattr(self, name) is not None]
        if self.profile == "prometheus":
            if self.latency is None:
                raise ValueError(
                    "profile prometheus needs latency: {family: …, unit: s}, the histogram of"
                    " request durations"
                )
            if self.labels:
                raise ValueError("with profile prometheus each family has labels of its own")
        elif given or (self.labels and not self.is_scraped):
            raise ValueError(
                f"{(given or ['labels'])[0]} is {'known' if self.is_scraped else 'not read'} for"
                f" profile {self.profile}: leave it out, or choose profile prometheus"
            )
        if self.queue and self.running and self.queue.unit != self.running.unit:
            raise ValueError("queue and running must have the same unit: requests or texts")
        used, total = self.memory_used, self.memory_total
        if (used is None) != (total is None) and not (used is not None and used.is_fraction):
            raise ValueError(
                "memory_used and memory_total go together, unless memory_used is a fraction"
            )
        if used is not None and used.is_fraction and total is not None:
            raise ValueError("memory_used is a fraction already: leave out memory_total")
        return self
