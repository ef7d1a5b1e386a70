"""How a pool's replicas are scraped: a profile or metric families, and with which credentials.

`SERVERS` has where each known server answers; `telemetry.servers` says which families mean what.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from controlplane.config.addresses import Address, EndpointAddress
from controlplane.config.errors import SettingsError
from controlplane.config.tls import DnsName
from controlplane.config.values import Duration, File, Port, Settings, UrlPath

ProfileName = Literal[
    "tei",
    "infinity",
    "vllm",
    "sglang",
    "triton",
    "nim",
    "ovms",
    "xinference",
    "ray-serve",
    "ray-llm",
    "bentoml",
    "localai",
    "llama-cpp",
    "lmdeploy",
    "torchserve",
    "tf-serving",
    "kserve",
    "mosec",
    "prometheus",
    "none",
]
"""Servers with known families; ``prometheus``: families are given; ``none``: no scraping."""


@dataclass(frozen=True, slots=True)
class ServerPaths:
    """Where a server answers.

    Attributes:
        health: Path that answers 200 once requests can be served.
        metrics: Path of the exposition.
        metrics_port: If not the port that serves requests.
        api: Path of its embeddings API; None where the user chooses it.
    """

    health: str = "/health"
    metrics: str = "/metrics"
    metrics_port: int | None = None
    api: str | None = "/v1/embeddings"


SERVERS: Final[Mapping[str, ServerPaths]] = MappingProxyType(
    {
        "tei": ServerPaths(),
        # Without a url_prefix, which is empty by default: infinity_emb/infinity_server.py.
        "infinity": ServerPaths(api="/embeddings"),
        "vllm": ServerPaths(),
        "sglang": ServerPaths(),
        # docs/user_guide/metrics.md of triton-inference-server/server; the metrics port is its own.
        "triton": ServerPaths(health="/v2/health/ready", metrics_port=8002, api=None),
        # https://docs.nvidia.com/nim/large-language-models/latest/observability.html
        "nim": ServerPaths(health="/v1/health/ready", metrics="/v1/metrics"),
        # docs/clients_kfs.md and docs/model_server_rest_api_embeddings.md of model_server.
        "ovms": ServerPaths(health="/v2/health/ready", api="/v3/embeddings"),
        # xinference/api/routers/admin.py.
        "xinference": ServerPaths(health="/status"),
        # One exposition for each node; 8080 is what Ray's documentation starts nodes with.
        "ray-serve": ServerPaths(health="/-/healthz", metrics_port=8080, api=None),
        "ray-llm": ServerPaths(health="/-/healthz", metrics_port=8080),
        "bentoml": ServerPaths(health="/readyz", api=None),
        "localai": ServerPaths(health="/readyz"),
        # tools/server/README.md of llama.cpp.
        "llama-cpp": ServerPaths(),
        # lmdeploy/serve/openai/api_server.py.
        "lmdeploy": ServerPaths(api=None),
        # docs/inference_api.md and docs/metrics_api.md of pytorch/serve.
        "torchserve": ServerPaths(health="/ping", metrics_port=8082, api=None),
        # Needs a monitoring_config_file; the REST port, 8501, serves it. A model's status is at
        # /v1/models/NAME, and there is no other path that says whether it is loaded.
        "tf-serving": ServerPaths(
            health="/monitoring/prometheus/metrics",
            metrics="/monitoring/prometheus/metrics",
            api=None,
        ),
        # docs of the open inference protocol; python/kserve/kserve/protocol/rest.
        "kserve": ServerPaths(health="/v2/health/ready", api="/openai/v1/embeddings"),
        # mosec/server.py: `/` answers 200 while the server is up, whatever its workers do.
        "mosec": ServerPaths(health="/", api=None),
        "prometheus": ServerPaths(api=None),
        "none": ServerPaths(api=None),
    }
)


FamilyName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]{0,255}$")]

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,63}$")]

LabelSelection = Annotated[dict[LabelName, str], Field(max_length=16)]
"""Samples with all of these labels count. ``*`` at the start or the end of a value stands for any
text; ``!`` before a value negates it."""

TimeUnit = Literal["s", "ms", "us"]
QueueUnit = Literal["requests", "texts"]
MemoryUnit = Literal["bytes", "KiB", "MiB", "GiB", "fraction", "percent"]


class CountFamily(Settings):
    """A gauge or a counter of requests.

    Attributes:
        family: Its name as exposed; of a counter with or without ``_total``.
        labels: Which samples are summed.
    """

    family: FamilyName
    labels: LabelSelection = Field(default_factory=dict)


class QueueFamily(CountFamily):
    """A gauge of waiting or running work.

    Attributes:
        unit: Requests, or texts; a request may have many texts.
    """

    unit: QueueUnit = "requests"


class LatencyFamily(Settings):
    """Request durations.

    Attributes:
        family: Name as exposed, without ``_bucket``, ``_sum`` or ``_count``.
        kind: A histogram, a summary, or two counters: the total duration, and `count`. Only the sum
            and the count of a summary are read, because quantiles cannot be combined.
        count: The counter of requests (``counters`` only).
        unit: Unit of the durations.
        labels: Which samples are summed.
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
        unit: Unit of its samples; a fraction or a percentage needs no total.
        labels: Which samples are summed for each GPU.
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
    """The total GPU memory.

    Attributes:
        family: The gauge's name as exposed.
        plus: More gauges to add, for servers that expose used, free and reserved memory.
        unit: Unit of all samples.
        labels: Which samples are summed for each GPU.
    """

    family: FamilyName
    plus: Annotated[tuple[FamilyName, ...], Field(strict=False, max_length=4)] = ()
    unit: Literal["bytes", "KiB", "MiB", "GiB"] = "bytes"
    labels: LabelSelection = Field(default_factory=dict)


class AccessSettings(Settings):
    """How one kind of exposition is requested.

    Attributes:
        scheme: ``https`` checks the certificate.
        ca_file: The certificates to trust; by default those of this machine.
        server_name: The name in the certificate; by default the scraped address.
        bearer_file: Holds the token of ``Authorization: Bearer``.
        username: User of ``Authorization: Basic``.
        password_file: Holds the user's password.
    """

    scheme: Literal["http", "https"] = "http"
    ca_file: File | None = None
    server_name: DnsName | None = None
    bearer_file: File | None = None
    username: Annotated[str, Field(pattern=r"^[\x21-\x39\x3b-\x7e]{1,256}$")] | None = None
    password_file: File | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for key in ("ca_file", "server_name"):
            if self.scheme != "https" and getattr(self, key) is not None:
                raise SettingsError(f"{key} goes with scheme: https", (key,))
        if (self.username is None) != (self.password_file is None):
            raise SettingsError("username and password_file go together", ("username",))
        if self.bearer_file is not None and self.username is not None:
            raise SettingsError(
                "bearer_file and username exclude each other: a request has one Authorization",
                ("bearer_file",),
            )
        return self


class ScrapingSettings(Settings):
    """How the expositions of a pool are requested. Not for the API to set: it names files.

    Attributes:
        replicas: Access to its replicas.
        exporters: Access to its exporters of GPU memory.
    """

    replicas: AccessSettings | None = None
    exporters: AccessSettings | None = None


FAMILIES: Final = ("latency", "memory_used", "memory_total", "queue", "running", "errors", "tokens")
"""The keys that name families, for profile ``prometheus`` only."""

DeviceProfileName = Literal["dcgm", "amd", "nvidia-smi", "xpumanager", "xpumd", "habana", "gke"]
"""The known exporters of GPU memory."""

_NOT_SCRAPED: Final = {
    **{
        name: (
            f"{name} describes GPUs, not replicas: choose the profile of the server, and"
            f' gpu: {{profile: {name}, addresses: ["127.0.0.1:9400"]}} beside it'
        )
        for name in get_args(DeviceProfileName)
    },
    "orca": (
        "orca reports come with a response, or on a stream to a proxy, and cannot be scraped:"
        " choose the profile of what the server exposes to Prometheus, or none"
    ),
}
"""Names that users expect among the profiles, and what to write instead."""


DEFAULT_BYTES: Final = 8 << 20
"""Of an exposition. A Ray node with hundreds of workers exposes 5 MB."""

MaxBytes = Annotated[int, Field(ge=1 << 10, le=64 << 20)]


def _at_most_a_minute(seconds: float) -> float:
    if seconds > 60.0:
        raise ValueError("a scrape may take 60s at most")
    return seconds


Timeout = Annotated[Duration, AfterValidator(_at_most_a_minute)]


class GpuSettings(Settings):
    """Exporters of GPU memory, which is joined to the replicas.

    Attributes:
        profile: The exporter.
        addresses: One for each node that has replicas of the pool.
        path: Path of the exposition.
        interval: Seconds between two scrapes of an exporter, which by default collects every 30 s.
        timeout: Seconds for one scrape; by default the interval, at most 10 s.
        max_bytes: Longest exposition in bytes; a longer one is a failed scrape.
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
        profile: A server with known families; ``prometheus``: the families are given here;
            ``none``: the replicas are never scraped.
        path: Path of the exposition; by default that of the server.
        port: Port of the exposition, if not the one that serves requests; by default the server's.
        interval: Seconds between two scrapes of a replica.
        timeout: Seconds for one scrape; by default the interval, at most 10 s.
        max_bytes: Longest exposition in bytes; a longer one is a failed scrape.
        labels: Narrows a known profile's families to one of several models; not its GPU memory.
        latency: Request durations (this and the following with ``prometheus`` only).
        memory_used: Gauge of GPU memory in use.
        memory_total: Gauge of the total GPU memory.
        queue: Gauge of waiting requests or texts.
        running: Gauge of requests or texts being computed.
        errors: Counter of failed requests.
        tokens: Counter of the tokens of computed texts.
        gpu: Exporters of GPU memory, where the replicas do not expose it.
    """

    profile: ProfileName = "tei"
    path: UrlPath = "/metrics"
    port: Port | None = None
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
        """Whether the replicas are scraped."""
        return self.profile != "none"

    @property
    def queue_unit(self) -> QueueUnit:
        """What the given families `queue` and `running` count."""
        given = self.queue or self.running
        return given.unit if given else "requests"

    def where(self, replica: Address) -> Address:
        """The address of the exposition of a replica at this address."""
        return Address(replica.host, self.port or replica.port)

    def reads_like(self, other: "MetricsSettings") -> bool:
        """Whether readings under the other settings are comparable with readings under these."""
        ignored: dict[str, Any] = {
            "gpu": None, "interval": 1.0, "timeout": None, "max_bytes": DEFAULT_BYTES,
        }  # fmt: skip
        return self.model_copy(update=ignored) == other.model_copy(update=ignored)

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
