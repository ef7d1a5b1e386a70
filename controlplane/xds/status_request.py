"""Which clients the client status service is asked about.

Field numbers are those of envoy/service/status/v3/csds.proto and of the matchers that it uses.
"""

from dataclasses import dataclass
from typing import Final

from controlplane.resources.encoding import VARINT, tag
from controlplane.xds.errors import ProtocolError
from controlplane.xds.identity import Node
from controlplane.xds.wire import fields, text


@dataclass(frozen=True, slots=True)
class TextMatcher:
    """A ``StringMatcher`` of one of the kinds that cannot take long."""

    kind: int
    value: str
    ignore_case: bool

    def matches(self, text_: str) -> bool:
        """Whether a text is as wanted."""
        value = self.value
        if self.ignore_case:
            value, text_ = value.lower(), text_.lower()
        match self.kind:
            case 1:
                return text_ == value
            case 2:
                return text_.startswith(value)
            case 3:
                return text_.endswith(value)
            case _:
                return value in text_


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Which clients are asked for, and how much of each.

    Attributes:
        ids: What ids of nodes must match, any of them; none: all nodes.
        without_contents: Whether only names, versions and states are wanted.
    """

    ids: tuple[TextMatcher, ...] = ()
    without_contents: bool = False

    def wants(self, node: Node) -> bool:
        """Whether it asks for this node."""
        return not self.ids or any(matcher.matches(node.id) for matcher in self.ids)


def decode_status_request(data: bytes) -> StatusRequest:
    """Decode a ``ClientStatusRequest``.

    Raises:
        ProtocolError: When it is none, or matches by what is not supported.
    """
    ids: list[TextMatcher] = []
    without_contents = False
    for key, number, value in fields(memoryview(data)):
        if key == tag(1):
            ids.append(_matcher(value))
        elif key == tag(3, VARINT):
            without_contents = bool(number)
    return StatusRequest(tuple(ids), without_contents)


_KINDS: Final = {tag(1): 1, tag(2): 2, tag(3): 3, tag(7): 7}
"""Exact, prefix, suffix, contains."""


def _matcher(data: memoryview) -> TextMatcher:
    """A ``NodeMatcher``."""
    found: TextMatcher | None = None
    for key, _, value in fields(data):
        if key != tag(1):
            raise ProtocolError("INVALID_ARGUMENT", "nodes are matched by node_id only")
        kind, wanted, ignore_case = 0, "", False
        for part, number, inner in fields(value):
            if part in _KINDS:
                kind, wanted = _KINDS[part], text(inner)
            elif part == tag(6, VARINT):
                ignore_case = bool(number)
        if not kind:
            raise ProtocolError(
                "INVALID_ARGUMENT", "node_id is matched by exact, prefix, suffix or contains"
            )
        found = TextMatcher(kind, wanted, ignore_case)
    if found is None:
        raise ProtocolError("INVALID_ARGUMENT", "a node matcher needs a node_id")
    return found
