"""What a user declares of one replica: where it is, and what it runs on."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from controlplane.config.addresses import Address, EndpointAddress
from controlplane.config.errors import SettingsError
from controlplane.config.values import Duration, Label, LabelValue, Name, Settings, Slots


class MemorySettings(Settings):
    """Fractions of GPU memory in use from which on a replica gets less, and gets nothing."""

    soft: Annotated[float, Field(gt=0, lt=1)] = 0.90
    hard: Annotated[float, Field(gt=0, le=1)] = 0.97

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.soft >= self.hard:
            raise ValueError(f"soft {self.soft:g} must be below hard {self.hard:g}")
        return self


class Locality(Settings):
    """Where a replica runs; Envoy's region and zone."""

    region: Label | None = None
    zone: Label | None = None


class Gpu(Settings):
    """The device that a replica computes on.

    Attributes:
        uuid: UUID as the vendor's tool prints it; replicas with the same one share its memory.
    """

    uuid: Label


class ReplicaSettings(Settings):
    """One replica, as declared in the file or put through the API.

    Attributes:
        address: Address of requests, the health check and the metrics.
        ingress: Where an Envoy beside the replica takes its requests; None: the replica takes them
            itself. Health and metrics are read at `address` in any case.
        slots: Requests that the replica computes at the same time; None: learned.
        memory: Instead of the pool's, for a GPU that is filled further by design.
        ttl: Lease in seconds; a replica without a heartbeat for so long is drained and, unless the
            config file declares it, removed. None: no lease.
        instance: The process; another one at the same address is a new generation. None: the
            process is the same as long as the address is.
    """

    address: EndpointAddress
    ingress: EndpointAddress | None = None
    slots: Slots | None = None
    locality: Locality = Locality()
    labels: dict[Label, LabelValue] = Field(default_factory=dict, max_length=32)
    gpu: Gpu | None = None
    memory: MemorySettings | None = None
    ttl: Duration | None = None
    instance: LabelValue | None = None

    @property
    def served_at(self) -> Address:
        """Where Envoys send its requests."""
        return self.ingress or self.address

    @property
    def places(self) -> tuple[Address, ...]:
        """All addresses of this replica alone."""
        return (self.address,) if self.ingress is None else (self.address, self.ingress)

    @model_validator(mode="after")
    def _ingress_is_elsewhere(self) -> Self:
        if self.ingress == self.address:
            raise SettingsError(
                f"{self.address} is where the replica itself serves; an ingress listens elsewhere",
                ("ingress",),
            )
        return self


class ReplicaEntry(ReplicaSettings):
    """A replica in a pool's list in the config file: the same, with its id."""

    id: Name

    def settings(self) -> ReplicaSettings:
        """The replica without its id."""
        return self.as_base(ReplicaSettings)
