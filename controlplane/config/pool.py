"""What a user says of one pool: the replicas of one model behind one listener of each sidecar."""

from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from controlplane.config.access import ScrapingSettings
from controlplane.config.balancing import BalancingSettings
from controlplane.config.classes import (
    MAX_CLASSES,
    ClassSettings,
    ObjectiveSettings,
    check_classes,
)
from controlplane.config.discovery import DiscoverySettings
from controlplane.config.errors import SettingsError
from controlplane.config.health_check import HealthCheckSettings
from controlplane.config.memory import MemorySettings
from controlplane.config.mesh import MeshSettings
from controlplane.config.metrics import MetricsSettings
from controlplane.config.replica import ReplicaEntry
from controlplane.config.scaling import ScalingSettings
from controlplane.config.servers import SERVERS
from controlplane.config.tls import ListenerTls, UpstreamSettings
from controlplane.config.values import (
    BufferSize,
    Duration,
    ListenerAddress,
    Name,
    PathPrefix,
    Settings,
    format_duration,
)


class ListenerSettings(Settings):
    """What a sidecar opens for its application.

    Attributes:
        address: Where it listens.
        tls: None: in plain text.
    """

    address: ListenerAddress
    tls: ListenerTls | None = None


EXPLAIN_HEADER: Final = "x-plimsoll"
"""The header of an answer that says how it came about, where a pool wants that."""


class RouteSettings(Settings):
    """Which requests of the listener go to the pool, and how long one may take.

    Attributes:
        prefix: Of the request's path.
        timeout: Seconds for the answer to a request, tries included, from when all of it is there.
            It has as long to arrive.
        retry_buffer: Bytes of a request's body that Envoy keeps, so that the request can be sent
            again. A longer request is sent once.
        hedge: Seconds without an answer after which a request goes to a second replica too, and
            the first answer counts; None: it waits for the one that has it.
        explain: Whether answers say in a header which replica they are from.
    """

    prefix: PathPrefix = "/"
    timeout: Duration = 60.0
    retry_buffer: BufferSize = 32 << 20
    hedge: Duration | None = None
    explain: bool = False

    @model_validator(mode="after")
    def _hedged_in_time(self) -> Self:
        if self.hedge is not None and self.hedge >= self.timeout:
            raise SettingsError(
                f"{format_duration(self.hedge)} is not below the timeout,"
                f" {format_duration(self.timeout)}: no request would be left to hedge",
                ("hedge",),
            )
        return self


class PoolSettings(Settings):
    """One pool without its replicas, as the API takes it.

    Attributes:
        model: The model that its replicas serve, as applications name it.
        objective: None where no latency is promised.
        classes: Of requests, in the order in which they are matched; None: they are parted by
            length where that helps.
    """

    model: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
    listener: ListenerSettings
    upstream: UpstreamSettings = UpstreamSettings()
    route: RouteSettings = RouteSettings()
    objective: ObjectiveSettings | None = None
    classes: tuple[ClassSettings, ...] | None = Field(
        default=None, strict=False, max_length=MAX_CLASSES
    )
    balancing: BalancingSettings = BalancingSettings()
    health_check: HealthCheckSettings = HealthCheckSettings()
    metrics: MetricsSettings = MetricsSettings()
    memory: MemorySettings = MemorySettings()
    mesh: MeshSettings = MeshSettings()
    scaling: ScalingSettings = ScalingSettings()

    @property
    def is_verified_by_id(self) -> bool:
        """Whether the certificate of each of its replicas must be of the replica's id."""
        return self.upstream.tls is not None and self.upstream.tls.server_name is None

    def objective_of(self, class_name: str) -> ObjectiveSettings | None:
        """What requests of a class are meant to keep to: the class's own, or else the pool's."""
        for one in self.classes or ():
            if one.name == class_name and one.objective is not None:
                return one.objective
        return self.objective

    @property
    def is_grpc(self) -> bool:
        """Whether its replicas are servers of gRPC, whose requests do not say how long they are."""
        return self.health_check.protocol == "grpc"

    @model_validator(mode="before")
    @classmethod
    def _health_of_server(cls, data: Any) -> Any:
        """Fill in the health check's path that the server of the metric profile answers at."""
        metrics = data.get("metrics") if isinstance(data, dict) else None
        profile = metrics.get("profile") if isinstance(metrics, dict) else None
        server = SERVERS.get(profile) if isinstance(profile, str) else None
        check = data.get("health_check", {}) if server else None
        if server is None or not isinstance(check, dict) or check.get("protocol") == "grpc":
            return data
        return {**data, "health_check": {"path": server.health, **check}}

    @model_validator(mode="after")
    def _mesh_fits(self) -> Self:
        if self.mesh.mode != "off" and self.upstream != UpstreamSettings():
            raise SettingsError(
                "does not go with a mesh: its Envoys speak HTTP/1.1 with replicas, and TLS among"
                " themselves",
                ("upstream",),
            )
        return self

    @model_validator(mode="after")
    def _grpc_fits(self) -> Self:
        if not self.is_grpc:
            return self
        if self.upstream.protocol != "http2":
            raise SettingsError(
                "grpc needs upstream: {protocol: http2}: gRPC is spoken over HTTP/2",
                ("health_check", "protocol"),
            )
        for index, one in enumerate(self.classes or ()):
            if one.match.lengths is not None:
                raise SettingsError(
                    "matches by length, and requests of gRPC do not say how long they are: match"
                    " by header or prefix",
                    ("classes", index, "match"),
                )
        return self

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        if self.classes is not None:
            check_classes(self.classes, self.route.prefix, self.balancing)
        return self


class PoolEntry(PoolSettings):
    """A pool in the config file: the same, with its name and its replicas.

    Attributes:
        discovery: Where more replicas are found. Not for the API to set: a source reads sockets and
            files of the control plane's machine.
        scraping: How its replicas and exporters are asked for metrics. Not for the API to set.
    """

    name: Name
    replicas: tuple[ReplicaEntry, ...] = Field(default=(), strict=False)
    discovery: tuple[DiscoverySettings, ...] = Field(default=(), strict=False, max_length=16)
    scraping: ScrapingSettings = ScrapingSettings()

    @model_validator(mode="after")
    def _replicas_differ(self) -> Self:
        for key in ("id", "address", "ingress"):
            seen = set()
            for index, replica in enumerate(self.replicas):
                value = getattr(replica, key)
                if value is not None and value in seen:
                    raise SettingsError(
                        f"two replicas have the {key} {value}; each needs its own",
                        ("replicas", index, key),
                    )
                seen.add(value)
        return self

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        sources = [str(it) for it in self.discovery]
        for index, source in enumerate(sources):
            if source in sources[:index]:
                raise SettingsError(f"{source} is already given above", ("discovery", index))
        return self

    def settings(self) -> PoolSettings:
        """The pool without its name, its replicas and where more are found."""
        return PoolSettings.model_construct(
            _fields_set=self.model_fields_set & PoolSettings.model_fields.keys(),
            **{name: getattr(self, name) for name in PoolSettings.model_fields},
        )
