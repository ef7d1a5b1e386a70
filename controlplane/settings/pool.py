"""What a user says of one pool: the replicas of one model behind one listener of each sidecar."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from controlplane.settings.metrics import MetricsSettings
from controlplane.settings.problems import SettingsError
from controlplane.settings.replica import ReplicaEntry
from controlplane.settings.values import (
    Duration,
    ListenerAddress,
    Name,
    PathPrefix,
    Settings,
    UrlPath,
)


class ListenerSettings(Settings):
    """What a sidecar opens for its application."""

    address: ListenerAddress


class RouteSettings(Settings):
    """Which requests of the listener go to the pool, and how long one may take.

    Attributes:
        prefix: Of the request's path.
        timeout: Seconds for the whole of a request, tries included.
    """

    prefix: PathPrefix = "/"
    timeout: Duration = 60.0


class ObjectiveSettings(Settings):
    """What the pool is meant to keep to.

    Attributes:
        p99: The 99th percentile of request durations, in seconds.
    """

    p99: Duration


class BalancingSettings(Settings):
    """How Envoy chooses a replica; ``docs/balancing.md`` says what each policy does.

    Attributes:
        policy: By what it chooses.
        locality: Whether replicas in its own zone are used first, then those in its region.
    """

    policy: Literal["capacity-tiers"] = "capacity-tiers"
    locality: Literal["any", "nearest"] = "any"


class HealthCheckSettings(Settings):
    """Envoy's active health check.

    Attributes:
        path: Answers 200 once the model is loaded.
        interval: Seconds between two checks of a replica.
        timeout: Seconds after which a check has failed.
    """

    path: UrlPath = "/health"
    interval: Duration = 1.0
    timeout: Duration = 1.0


class MemorySettings(Settings):
    """GPU memory in use, as a fraction, from where on a replica gets less and gets nothing."""

    soft: Annotated[float, Field(gt=0, lt=1)] = 0.90
    hard: Annotated[float, Field(gt=0, le=1)] = 0.97

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.soft >= self.hard:
            raise ValueError(f"soft {self.soft:g} must be below hard {self.hard:g}")
        return self


class PoolSettings(Settings):
    """One pool without its replicas, as the API takes it.

    Attributes:
        model: The model that its replicas serve, as applications name it.
        objective: None where no latency is promised.
    """

    model: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
    listener: ListenerSettings
    route: RouteSettings = RouteSettings()
    objective: ObjectiveSettings | None = None
    balancing: BalancingSettings = BalancingSettings()
    health_check: HealthCheckSettings = HealthCheckSettings()
    metrics: MetricsSettings = MetricsSettings()
    memory: MemorySettings = MemorySettings()


class PoolEntry(PoolSettings):
    """A pool in the config file: the same, with its name and its replicas."""

    name: Name
    replicas: tuple[ReplicaEntry, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _replicas_differ(self) -> Self:
        for key in ("id", "address"):
            seen = set()
            for index, replica in enumerate(self.replicas):
                value = getattr(replica, key)
                if value in seen:
                    raise SettingsError(
                        f"two replicas have the {key} {value}; each needs its own",
                        ("replicas", index, key),
                    )
                seen.add(value)
        return self

    def settings(self) -> PoolSettings:
        """The pool without its name and replicas."""
        return PoolSettings.model_construct(
            **{name: getattr(self, name) for name in PoolSettings.model_fields}
        )
