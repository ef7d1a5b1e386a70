"""What a user declares of one pool: the replicas of one model behind one listener of each sidecar.

`given_keys` and `given_data` say what the user gave a value; `overridden` lays one over another.
"""

from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import Field, model_validator

from controlplane.config.addresses import Address, ListenerAddress
from controlplane.config.balancing import BalancingSettings
from controlplane.config.classes import (
    MAX_CLASSES,
    ClassSettings,
    ObjectiveSettings,
    check_classes,
)
from controlplane.config.discovery import DiscoverySettings
from controlplane.config.errors import Path, SettingsError, check_distinct, validated
from controlplane.config.health_check import HealthCheckSettings
from controlplane.config.metrics import SERVERS, MetricsSettings, ScrapingSettings
from controlplane.config.replica import MemorySettings, ReplicaEntry, ReplicaSettings
from controlplane.config.tls import ListenerTls, MeshSettings, UpstreamSettings
from controlplane.config.values import (
    BufferSize,
    Duration,
    Name,
    PathPrefix,
    Settings,
    format_duration,
)

MOST_REPLICAS = 100_000

ReplicaCount = Annotated[int, Field(ge=0, le=MOST_REPLICAS)]


class ScalingSettings(Settings):
    """Bounds of the number of replicas that is recommended to autoscalers.

    Attributes:
        min_replicas: The least; 0: none while no requests come.
        max_replicas: The most; None: no limit.
        max_utilization: The greatest part of the measured capacity that requests may take, even
            where the objective would allow more.
        scale_down_after: Seconds for which fewer replicas must be enough before fewer are wanted.
    """

    min_replicas: ReplicaCount = 1
    max_replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] | None = None
    max_utilization: Annotated[float, Field(ge=0.1, le=0.95)] = 0.7
    scale_down_after: Duration = 300.0

    @model_validator(mode="after")
    def _min_within_max(self) -> Self:
        if self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise SettingsError(
                f"{self.min_replicas} is above max_replicas, {self.max_replicas}",
                ("min_replicas",),
            )
        return self


class ListenerSettings(Settings):
    """What a sidecar opens for its application.

    Attributes:
        address: Where the sidecar listens.
        tls: None: plain text.
    """

    address: ListenerAddress
    tls: ListenerTls | None = None


EXPLAIN_HEADER: Final = "x-plimsoll"
"""The response header that names the replica, for pools with `route.explain`."""


class RouteSettings(Settings):
    """Which requests of the listener go to the pool, and how long one may take.

    Attributes:
        prefix: The first segments of the request's path.
        timeout: Seconds for the answer to a complete request, retries included. The request has as
            long to arrive.
        retry_buffer: Bytes of a request's body that Envoy keeps for retries. A longer request is
            sent once.
        hedge: Seconds without an answer after which a request also goes to a second replica, and
            the first answer counts; None: never.
        explain: Whether a response header names the replica.
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
        model: The model that the replicas serve, as applications name it.
        objective: None: no objective.
        classes: Classes of requests, in matching order; None: requests are parted by length where
            that helps.
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
        """Whether each replica's certificate must name the replica's id."""
        return self.upstream.tls is not None and self.upstream.tls.server_name is None

    def objective_of(self, class_name: str) -> ObjectiveSettings | None:
        """The objective of a class, or else of the pool."""
        for one in self.classes or ():
            if one.name == class_name and one.objective is not None:
                return one.objective
        return self.objective

    def gateways_of(self, class_name: str) -> tuple[Address, ...]:
        """The gateways that the requests of a class go through; empty: none.

        The class of all requests that no other takes, whose name is empty, never has any.
        """
        if self.classes is None:
            return self.balancing.long_requests_via if class_name else ()
        return next((one.via for one in self.classes if one.name == class_name), ())

    @property
    def gateways(self) -> dict[Path, tuple[Address, ...]]:
        """The gateways of all classes that have any, by the path of the key that lists them."""
        found: dict[Path, tuple[Address, ...]] = {
            ("classes", index, "via"): one.via for index, one in enumerate(self.classes or ())
        }
        found["balancing", "long_requests_via"] = self.balancing.long_requests_via
        return {path: via for path, via in found.items() if via}

    @property
    def is_grpc(self) -> bool:
        """Whether the replicas speak gRPC; such requests do not state their length."""
        return self.health_check.protocol == "grpc"

    @model_validator(mode="before")
    @classmethod
    def _health_of_server(cls, data: Any) -> Any:
        """Fill in the health check's path of the metric profile's server."""
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

    @model_validator(mode="after")
    def _gateways_fit(self) -> Self:
        for path, via in self.gateways.items():
            if (why := self._no_gateways(path)) is not None:
                raise SettingsError(why, path)
            for index, address in enumerate(via):
                if address in via[:index]:
                    raise SettingsError(f"{address} is already given above", (*path, index))
                if address == self.listener.address:
                    raise SettingsError(
                        f"{address} is the pool's own listener: requests would loop",
                        (*path, index),
                    )
        return self

    def _no_gateways(self, path: Path) -> str | None:
        """Why requests cannot go through gateways, in a sentence; None: they can."""
        if self.is_grpc:
            return "does not go with health_check.protocol grpc: its calls go straight to replicas"
        if self.mesh.mode == "strict" or self.upstream.tls is not None:
            key = "mesh mode strict" if self.upstream.tls is None else "upstream.tls"
            return f"does not go with {key}: requests reach a gateway in plain text"
        if self.route.hedge is not None:
            return "does not go with route.hedge: a gateway and a sidecar would both hedge"
        if self.scaling.min_replicas == 0:
            return (
                "does not go with scaling.min_replicas 0: no request through a gateway wakes a pool"
            )
        if path[0] == "classes":
            return None
        if self.classes is not None:
            return "is for requests that are parted by length: say via in a class instead"
        if self.balancing.policy != "capacity-tiers":
            return f"needs policy capacity-tiers, not {self.balancing.policy}"
        if self.balancing.long_requests == "any-replica":
            return "does not go with long_requests: any-replica, which parts no requests by length"
        return None


class PoolEntry(PoolSettings):
    """A pool in the config file: the same, with its name and its replicas.

    Attributes:
        discovery: Sources of more replicas. Not for the API to set: a source reads sockets and
            files of the control plane's machine.
        scraping: How its replicas and exporters are scraped. Not for the API to set.
    """

    name: Name
    replicas: tuple[ReplicaEntry, ...] = Field(default=(), strict=False)
    discovery: tuple[DiscoverySettings, ...] = Field(default=(), strict=False, max_length=16)
    scraping: ScrapingSettings = ScrapingSettings()

    @model_validator(mode="after")
    def _replicas_differ(self) -> Self:
        check_distinct("replicas", self.replicas, ("id", "address", "ingress"))
        return self

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        sources = [str(each) for each in self.discovery]
        for index, source in enumerate(sources):
            if source in sources[:index]:
                raise SettingsError(f"{source} is already given above", ("discovery", index))
        return self

    def settings(self) -> PoolSettings:
        """The pool without its name, its replicas and their sources."""
        return self.as_base(PoolSettings)


SettingsT = TypeVar("SettingsT", PoolSettings, ReplicaSettings)


def given_keys(settings: PoolSettings | ReplicaSettings) -> frozenset[str]:
    """The keys to which the user gave a value."""
    keys = frozenset(settings.model_fields_set)
    return keys - {"health_check"} if _has_its_servers_health(settings) else keys


def given_data(settings: PoolSettings | ReplicaSettings) -> dict[str, Any]:
    """What the user gave, as plain data from which `validated` makes the same settings."""
    data = settings.model_dump(mode="json", include=set(given_keys(settings)), exclude_unset=True)
    if "health_check" in data and isinstance(settings, PoolSettings):
        check = data["health_check"]
        # The path of the profile's server is filled in again anyway.
        if check.get("path") == SERVERS[settings.metrics.profile].health:
            del check["path"]
    return data


def overridden(below: SettingsT, above: SettingsT, keys: frozenset[str]) -> SettingsT:
    """Return `below` with the values of some keys that the user gave in `above`."""
    mine = given_data(above)
    return validated(
        type(below), given_data(below) | {key: mine[key] for key in mine.keys() & keys}
    )


def _has_its_servers_health(settings: PoolSettings | ReplicaSettings) -> bool:
    if not isinstance(settings, PoolSettings):
        return False
    check, server = settings.health_check, SERVERS[settings.metrics.profile]
    return check.model_fields_set <= {"path"} and check.path == server.health
