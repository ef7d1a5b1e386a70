"""One encoded xDS resource and its version."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

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
        name: Unique within its type.
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

    def __hash__(self) -> int:
        # Responses are looked up by what is in them, and the version says that already.
        return hash(self.version)

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
            type_url: Of the message.
            name: Of the resource.
            message: The encoded message.
            salt: What else the version depends on: an assignment's version changes with its
                cluster, because Envoy waits for endpoints whenever a cluster has changed.
            claims: The address of a listener.
            versioned_by: What the version is a hash of, instead of the message.
        """
        hashed = message if versioned_by is None else versioned_by
        version = blake2b(hashed + b"\0" + salt, digest_size=8).hexdigest()
        packed = pb.Any(type_url=type_url, value=message).SerializeToString()
        framed = pb.Resource(name=name, version=version, resource=packed).SerializeToString()
        return cls(name, version, packed, framed, claims)
