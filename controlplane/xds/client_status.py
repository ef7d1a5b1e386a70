"""What each client was sent and made of it, for the client status discovery service (CSDS)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from controlplane.resources.encoding import VARINT, delimited, implicit, tag, varint
from controlplane.resources.resource import SECRET, Resource
from controlplane.resources.snapshot import Snapshot
from controlplane.xds.errors import ProtocolError
from controlplane.xds.holdings import ABSENT
from controlplane.xds.node import Node
from controlplane.xds.subscription import Subscription
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


class ConfigStatus(IntEnum):
    """How far a resource got, as the server sees it."""

    SYNCED = 1
    NOT_SENT = 2
    STALE = 3
    ERROR = 4


class ClientStatus(IntEnum):
    """How far a resource got, as the client would say."""

    REQUESTED = 1
    DOES_NOT_EXIST = 2
    ACKED = 3
    NACKED = 4


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource that a client asked for.

    Attributes:
        type_url: Its type.
        name: Its name.
        resource: As the client should hold it; None where there is none.
        config_status: How far it got.
        client_status: Likewise.
        error: The client's words when it rejected it.
    """

    type_url: str
    name: str
    resource: Resource | None
    config_status: ConfigStatus
    client_status: ClientStatus
    error: str = ""


def statuses(
    subscription: Subscription, snapshot: Snapshot, error: str
) -> Iterator[ResourceStatus]:
    """Every resource of a type that a client wants, by name.

    Args:
        subscription: Its.
        snapshot: What it should hold.
        error: Its words when it last rejected something of the type.
    """
    url, held = subscription.type_url, subscription.holdings.versions
    wanted = subscription.interest.given(snapshot.names(url))
    under_way = subscription.outstanding.contents if subscription.outstanding else {}
    for name in sorted(wanted):
        resource = snapshot.get(url, name)
        version = resource.version if resource else ABSENT
        if subscription.refusals.include(name, version):
            state = (ConfigStatus.ERROR, ClientStatus.NACKED, error)
        elif name in under_way:
            state = (ConfigStatus.STALE, ClientStatus.REQUESTED, "")
        elif held.get(name) == version and resource:
            state = (ConfigStatus.SYNCED, ClientStatus.ACKED, "")
        elif held.get(name) == version:
            state = (ConfigStatus.SYNCED, ClientStatus.DOES_NOT_EXIST, "")
        else:
            state = (ConfigStatus.NOT_SENT, ClientStatus.REQUESTED, "")
        yield ResourceStatus(url, name, resource, *state)


def encode_config(
    node: Node, resources: Iterable[ResourceStatus], *, without_contents: bool
) -> bytes:
    """Encode one client as a field of a ``ClientStatusResponse``.

    Secrets are shown without their contents.
    """
    place = node.locality
    locality = b"".join(
        implicit(number, word.encode())
        for number, word in ((1, place.region), (2, place.zone), (3, place.sub_zone))
    )
    said = b"".join(
        (
            implicit(1, node.id.encode()),
            implicit(2, node.cluster.encode()),
            implicit(4, locality),
            implicit(6, node.user_agent.encode()),
            implicit(7, node.version.encode()),
        )
    )
    entries = [delimited(3, _entry(it, without_contents=without_contents)) for it in resources]
    return delimited(1, b"".join([delimited(1, said), *entries]))


def _entry(status: ResourceStatus, *, without_contents: bool) -> bytes:
    """A ``GenericXdsConfig``."""
    resource, parts = status.resource, [delimited(1, status.type_url.encode())]
    parts.append(implicit(2, status.name.encode()))
    if resource:
        parts.append(delimited(3, resource.version.encode()))
        if not without_contents and status.type_url != SECRET:
            parts.append(delimited(4, resource.packed))
    parts.append(_number(6, status.config_status))
    parts.append(_number(7, status.client_status))
    if status.error:
        version = resource.version.encode() if resource else b""
        parts.append(delimited(8, implicit(3, status.error.encode()) + implicit(4, version)))
    return b"".join(parts)


def _number(field: int, value: int) -> bytes:
    return varint(tag(field, VARINT)) + varint(value)
