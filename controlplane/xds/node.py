"""The node at the other end of a stream: what it claims, and whether it can be served."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.resources.encoding import FIXED64, VARINT, tag
from controlplane.resources.places import Place
from controlplane.resources.views import View
from controlplane.xds.errors import MalformedRequestError, ProtocolError
from controlplane.xds.wire import fields, text, texts

MAX_METADATA_DEPTH: Final = 64
"""Deeper node metadata is refused: it is read by a function that calls itself."""


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a node says that it is; empty where it says nothing."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """Who a client says that it is. A claim: nothing here was verified.

    Attributes:
        id: Of the node, from its bootstrap.
        cluster: The group of nodes that it belongs to, from its bootstrap.
        locality: Where it runs.
        user_agent: The program, ``envoy`` for Envoy.
        version: Of the program, such as ``1.40.0``; empty if unknown.
        metadata: Of its bootstrap, as plain data.
    """

    id: str = ""
    cluster: str = ""
    locality: Locality = Locality()
    user_agent: str = ""
    version: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names_its_wildcards(self) -> bool:
        """Whether it reconnects with names where it means the wildcard (envoy#16063, < 1.19)."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})\b", self.version, re.ASCII)
        return (
            self.user_agent == "envoy"
            and found is not None
            and (int(found[1]), int(found[2])) < (1, 19)
        )


def decode_node(data: memoryview) -> Node:
    """Decode a ``Node``.

    Raises:
        MalformedRequestError: When the bytes are no such message; no other error escapes.
    """
    words = {tag(1): "", tag(2): "", tag(6): "", tag(7): ""}
    locality, build_version = Locality(), ""
    metadata: dict[str, Any] = {}
    for key, _, value in fields(data):
        if key in words:
            words[key] = text(value)
        elif key == tag(3):
            metadata = _struct(value, 1)
        elif key == tag(4):
            locality = Locality(*texts(value, 1, 2, 3))
        elif key == tag(8):
            build_version = _build_version(value)
    identity, cluster, user_agent, version = words.values()
    return Node(identity, cluster, locality, user_agent, version or build_version, metadata)


def _build_version(data: memoryview) -> str:
    numbers = {tag(number, VARINT): 0 for number in (1, 2, 3)}
    for key, _, value in fields(data):
        if key == tag(1):
            for part, number, _ in fields(value):
                if part in numbers:
                    numbers[part] = number
    return ".".join(map(str, numbers.values()))


def _struct(data: memoryview, depth: int) -> dict[str, Any]:
    """A `google.protobuf.Struct` as plain data."""
    found: dict[str, Any] = {}
    for key, _, entry in fields(data):
        if key == tag(1):
            name, content = "", None
            for part, _, value in fields(entry):
                if part == tag(1):
                    name = text(value)
                elif part == tag(2):
                    content = _value(value, depth)
            found[name] = content
    return found


def _value(data: memoryview, depth: int) -> Any:
    """A `google.protobuf.Value` as plain data; one without a kind reads as None."""
    if depth > MAX_METADATA_DEPTH:
        raise MalformedRequestError(f"node metadata is nested deeper than {MAX_METADATA_DEPTH}")
    found: Any = None
    for key, number, value in fields(data):
        if key == tag(1, VARINT):
            found = None
        elif key == tag(2, FIXED64):
            found = struct.unpack("<d", value)[0]
        elif key == tag(3):
            found = text(value)
        elif key == tag(4, VARINT):
            found = bool(number)
        elif key == tag(5):
            found = _struct(value, depth + 1)
        elif key == tag(6):
            found = [_value(item, depth + 1) for part, _, item in fields(value) if part == tag(1)]
    return found


MAX_ID_LENGTH: Final = 256
"""Characters that a node's id, and each other word it says about itself, may have."""


def admit(node: Node | None) -> tuple[Node, View]:
    """Take a stream's first request by the node that it names.

    Raises:
        ProtocolError: When there is no node, or none that can be served or safely shown.
    """
    if node is None or not node.id:
        raise ProtocolError("INVALID_ARGUMENT", "the first request must name its node, with an id")
    place = node.locality
    said = (node.id, node.cluster, node.user_agent, node.version)
    for word in (*said, place.region, place.zone, place.sub_zone):
        # These reach logs and dashboards.
        if len(word) > MAX_ID_LENGTH or not word.isprintable():
            raise ProtocolError(
                "INVALID_ARGUMENT",
                f"what a node says about itself must be printable and at most {MAX_ID_LENGTH}"
                " characters",
            )
    try:
        return node, View.of(node.metadata, Place(place.region, place.zone))
    except ValueError as error:
        raise ProtocolError("INVALID_ARGUMENT", str(error)) from None
