"""What a client was sent and made of it, resource by resource, for the client status service.

Field numbers are those of envoy/service/status/v3/csds.proto. Messages are written field by field:
a thousand sidecars have tens of thousands of entries.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from controlplane.resources.encoding import VARINT, delimited, implicit, tag, varint
from controlplane.resources.resource import SECRET, Resource
from controlplane.resources.snapshot import Snapshot
from controlplane.xds.identity import Node
from controlplane.xds.pending import ABSENT
from controlplane.xds.subscription import Subscription


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
