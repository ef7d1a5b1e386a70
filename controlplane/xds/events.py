"""What happens on a stream, for those who log and count it."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from controlplane.xds.identity import Node

FAULT: Final = "a fault of the control plane; see its log"
"""Why a stream ended, where its client is not to learn more."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A client introduced itself."""

    node: Node


@dataclass(frozen=True, slots=True)
class Sent:
    """A response was written: `resources` changed, `removed` names, `size` bytes."""

    type_url: str
    version: str
    resources: int
    removed: int
    size: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The client accepted a response and holds this version of the type."""

    type_url: str
    version: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The client refused resources, in its own words; it keeps what it had."""

    type_url: str
    names: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Unserved:
    """The client asked for a type of which this server has nothing, ever. It gets no answer."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream ended; `reason` is empty when the client left."""

    reason: str


Event: TypeAlias = Connected | Sent | Acknowledged | Rejected | Unserved | Disconnected
