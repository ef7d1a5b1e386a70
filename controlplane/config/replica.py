"""What a user declares of one replica: where it is, and what it runs on."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from controlplane.config.addresses import Address, EndpointAddress
from controlplane.config.errors import SettingsError
from controlplane.config.values import Duration, Label, LabelValue, Name, Settings


class MemorySettings(Settings):
    """GPU memory in use, as a fraction, from where on a replica gets less and gets nothing."""

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
        uuid: As the vendor's tool prints it; replicas that name the same one share its memory.
    """

    uuid: Label


class ReplicaSettings(Settings):
    """One replica, as declared in the file or put through the API.

    Attributes:
        address: Where it serves requests, its health check and its metrics.
        ingress: Where an Envoy beside it takes its requests; None: it takes them itself. The
            control plane asks for its health and its metrics at `address` in any case.
        slots: Requests that it computes at the same time; None: that is learned.
        memory: Instead of the pool's, for a GPU that is filled further by design.
        ttl: Lease in seconds; a replica that sends no heartbeat for so long is drained and, unless
            the config file declares it, removed. None: it stays until somebody removes it.
        instance: Which process it is; with another one at the same address it is a new generation.
            None: it is the same as long as its address is.
    """

    address: EndpointAddress
    ingress: EndpointAddress | None = None
    slots: Annotated[int, Field(ge=1, le=4096)] | None = None
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
        """All addresses that are its alone."""
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
        # Not validated anew: what is text in the file is a number of seconds by now.
        return ReplicaSettings.model_construct(
            _fields_set=self.model_fields_set - {"id"},
            **{name: getattr(self, name) for name in ReplicaSettings.model_fields},
        )
