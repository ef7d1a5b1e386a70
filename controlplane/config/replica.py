"""What a user says of one replica: where it is, what it has declared, what it runs on."""

from typing import Annotated

from pydantic import Field

from controlplane.config.memory import MemorySettings
from controlplane.config.values import (
    Duration,
    EndpointAddress,
    Label,
    LabelValue,
    Name,
    Settings,
)


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
        slots: Requests that it computes at the same time; None: that is learned.
        memory: Instead of the pool's, for a GPU that is filled further by design.
        ttl: Lease in seconds; a replica that sends no heartbeat for so long is drained and, unless
            the config file declares it, removed. None: it stays until somebody removes it.
        instance: Which process it is; with another one at the same address it is a new generation.
            None: it is the same as long as its address is.
    """

    address: EndpointAddress
    slots: Annotated[int, Field(ge=1, le=4096)] | None = None
    locality: Locality = Locality()
    labels: dict[Label, LabelValue] = Field(default_factory=dict, max_length=32)
    gpu: Gpu | None = None
    memory: MemorySettings | None = None
    ttl: Duration | None = None
    instance: LabelValue | None = None


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
