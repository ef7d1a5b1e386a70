"""What happens on a stream, and what operators see of each node. Values only."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from controlplane.xds.node import Locality, Node

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
    """The client rejected resources and keeps what it had; `message` is its own."""

    type_url: str
    names: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Unserved:
    """The client asked for a type that this server does not serve. It gets no answer."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream ended; `reason` is empty when the client left."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A client was not admitted; `peer` is its address, `reason` a sentence about its certificate.

    It is reported as of the node that the certificate names, or of the address where it names none.
    """

    peer: str
    reason: str


Event: TypeAlias = Connected | Sent | Acknowledged | Rejected | Unserved | Disconnected | Refused


@dataclass(frozen=True, slots=True)
class Rejection:
    """The last time, in the stream's seconds, that a client rejected resources of a type.

    The message is the client's own. A response without names rejected no resource.
    """

    names: tuple[str, ...]
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One resource type on one stream.

    Versions are digests over everything that the client then holds of the type: two clients that
    hold the same show the same. They are empty before the first, and times are None. `refused` are
    names that it rejected and was not sent in another version since.
    """

    type_url: str
    wildcard: bool
    subscribed: int
    sent: str
    sent_at: float | None
    acknowledged: str
    acknowledged_at: float | None
    held: int
    rejection: Rejection | None
    refused: tuple[str, ...] = ()

    @property
    def in_sync(self) -> bool:
        """Whether it holds all that it was sent."""
        return self.sent == self.acknowledged and not self.refused


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One stream of one node; a node that reconnects may have two for a moment.

    The fields about the node are its own claims. Its id is verified where there is an identity, the
    SPIFFE id that it has proven. `connected_at` is in seconds of the stream's clock,
    and `types` come in the order of `TYPE_URLS`.
    """

    id: str
    cluster: str
    locality: Locality
    user_agent: str
    version: str
    connected_at: float
    types: tuple[TypeStatus, ...]
    identity: str = ""
