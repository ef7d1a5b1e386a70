"""Encoded xDS resources with their versions, and the snapshot of them that a client should hold."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, TypeAlias

from controlplane.protos import envoy_pb2 as pb

CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105

TYPE_URLS: Final = (CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE)
"""Every type there is, in the order in which Envoy must learn of additions: what a resource
refers to comes before it (xDS protocol, "Eventual consistency considerations")."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as it goes over the wire; encoded once, shared by every stream.

    Attributes:
        version: Hash of the content; of a secret, of what is public in it.
        packed: The message in a ``google.protobuf.Any``, encoded (state of the world).
        framed: The same with name and version, an encoded ``discovery.v3.Resource`` (delta).
        claims: The address of a listener, which no other may have; empty for other types.
    """

    name: str
    version: str
    # That of a secret has a key in it, which no log is to show.
    packed: bytes = field(repr=False)
    framed: bytes = field(repr=False)
    claims: str = ""

    @classmethod
    def of(
        cls,
        type_url: str,
        name: str,
        message: bytes,
        *,
        salt: bytes = b"",
        claims: str = "",
        versioned_by: bytes | None = None,
    ) -> "Resource":
        """Pack an encoded message.

        Args:
            salt: What else the version depends on: an assignment's version changes with its
                cluster, because Envoy waits for endpoints whenever a cluster has changed.
            versioned_by: What the version is a hash of, instead of the message.
        """
        hashed = message if versioned_by is None else versioned_by
        version = blake2b(hashed + b"\0" + salt, digest_size=8).hexdigest()
        packed = pb.Any(type_url=type_url, value=message).SerializeToString()
        framed = pb.Resource(name=name, version=version, resource=packed).SerializeToString()
        return cls(name, version, packed, framed, claims)


Changes: TypeAlias = Mapping[str, frozenset[str]]
"""Names of resources that came, changed or went, by the URLs of the types that have any."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The age of a snapshot, greater in newer ones, among those of the same line."""

    line: object = field(default_factory=object)
    number: int = 0

    def next(self) -> "Revision":
        return Revision(self.line, self.number + 1)


class Snapshot(ABC):
    """Everything that one Envoy should hold; its revision tells it from others, without them."""

    def __init__(self, revision: Revision, *, keeps_any: bool = False) -> None:
        """Begin; `keeps_any`: there may be something that clients are to keep, see `keeps`."""
        self.revision = revision
        self.keeps_any = keeps_any

    @abstractmethod
    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource; None when there is none of this type and name."""

    @abstractmethod
    def names(self, type_url: str) -> Collection[str]:
        """The names of all resources of a type; empty for a type that is not served."""

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """Names that may differ from the snapshot of this revision; it may be too many."""
        return {} if revision is self.revision else None

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:  # noqa: ARG002
        """Whether a client that has something from an earlier stream is to keep it as it is.

        The name ``*`` stands for all that the client has of this type. The version that it has is
        None where it is not known.
        """
        return False

    def type(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of one type by name."""
        found = ((name, self.get(type_url, name)) for name in sorted(self.names(type_url)))
        return {name: resource for name, resource in found if resource is not None}
