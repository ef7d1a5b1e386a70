"""The node at the other end of a stream, and the error that ends the stream."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from google.protobuf import struct_pb2

from controlplane.balancing import Place
from controlplane.config import shown
from controlplane.identity import Identity
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.views import MAX_NODE_ID, View

Code = Literal[
    "INVALID_ARGUMENT",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
]


class ProtocolError(Exception):
    """The client broke the protocol: its stream ends with this gRPC status and message."""

    def __init__(self, code: Code, message: str) -> None:
        self.code: Code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class MalformedRequestError(ProtocolError):
    """The bytes of a request are not the message that they should be."""

    def __init__(self, problem: str) -> None:
        super().__init__("INVALID_ARGUMENT", f"malformed request: {problem}")


@dataclass(frozen=True, slots=True)
class Locality:
    """The locality that a node states; empty where it states none."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A client as its bootstrap describes it. Of an admitted node only the id is verified."""

    id: str = ""
    cluster: str = ""
    locality: Locality = Locality()
    user_agent: str = ""
    version: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_grpc(self) -> bool:
        """Whether it is a gRPC client: their programs are called ``gRPC Go`` and the like."""
        return self.user_agent.startswith("gRPC")

    @property
    def ejects_safely(self) -> bool:
        """Whether it can leave out failing replicas without losing calls.

        grpc-java, up to 1.85 at least, breaks a connection with all calls on it where a replica
        moves during a call: the tracker in its OutlierDetectionLoadBalancer is null then.
        """
        return not self.user_agent.startswith("gRPC Java")

    @property
    def names_its_wildcards(self) -> bool:
        """Whether it reconnects with names where it means the wildcard (envoy#16063, < 1.19)."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})\b", self.version, re.ASCII)
        return (
            self.user_agent == "envoy"
            and found is not None
            and (int(found[1]), int(found[2])) < (1, 19)
        )


def node_of(node: pb.Node) -> Node:
    """Take what matters of an Envoy's ``Node``."""
    place, version = node.locality, node.user_agent_version
    if not version and node.HasField("user_agent_build_version"):
        built = node.user_agent_build_version.version
        version = f"{built.major_number}.{built.minor_number}.{built.patch}"
    return Node(
        node.id,
        node.cluster,
        Locality(place.region, place.zone, place.sub_zone),
        node.user_agent_name,
        version,
        _struct(node.metadata),
    )


def _struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Turn a ``google.protobuf.Struct`` into plain data; protobuf limits how deep it is."""
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_value(each) for each in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def admit(node: Node | None, identity: Identity | None = None) -> tuple[Node, View]:
    """Take a stream's first request by the node that it names.

    Without TLS there is no identity, and the claim is believed.

    Raises:
        ProtocolError: When there is no node, none that can be served or safely shown, or not the
            one that the client has proven to be.
    """
    if node is None or not node.id:
        raise ProtocolError("INVALID_ARGUMENT", "the first request must name its node, with an id")
    place = node.locality
    words = (node.id, node.cluster, node.user_agent, node.version)
    for word in (*words, place.region, place.zone, place.sub_zone):
        # These reach logs and dashboards.
        if len(word) > MAX_NODE_ID or not word.isprintable():
            raise ProtocolError(
                "INVALID_ARGUMENT",
                f"what a node says about itself must be printable and at most {MAX_NODE_ID}"
                " characters",
            )
    if identity is not None and node.id != identity.node:
        raise ProtocolError(
            "PERMISSION_DENIED",
            f"it calls itself {shown(node.id)}, and its certificate is of {identity.spiffe_id}",
        )
    try:
        view = View.of(
            node.metadata,
            Place(place.region, place.zone),
            is_grpc=node.is_grpc,
            ejects=node.ejects_safely,
        )
    except ValueError as error:
        raise ProtocolError("INVALID_ARGUMENT", str(error)) from None
    if identity is None or identity.pools is None:
        return node, view
    try:
        return node, view.within(identity.pools)
    except ValueError as error:
        raise ProtocolError("PERMISSION_DENIED", str(error)) from None
