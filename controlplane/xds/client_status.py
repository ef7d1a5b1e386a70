"""What each client was sent and made of it, for the client status discovery service (CSDS)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Final

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import SECRET, Snapshot
from controlplane.xds.holdings import ABSENT
from controlplane.xds.node import Node, ProtocolError
from controlplane.xds.protocol import parse
from controlplane.xds.subscription import Subscription


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Which clients are asked for, by what their ids match any of, and how much of each."""

    ids: tuple[pb.StringMatcher, ...] = ()
    without_contents: bool = False

    def wants(self, node: Node) -> bool:
        """Whether it asks for this node."""
        return not self.ids or any(_matches(matcher, node.id) for matcher in self.ids)


def decode_status_request(data: bytes) -> StatusRequest:
    """Decode a ``ClientStatusRequest``, or raise `ProtocolError`."""
    request = parse(pb.ClientStatusRequest, data)
    for matcher in request.node_matchers:
        if matcher.node_metadatas:
            raise ProtocolError("INVALID_ARGUMENT", "nodes are matched by node_id only")
        if not matcher.HasField("node_id"):
            raise ProtocolError("INVALID_ARGUMENT", "a node matcher needs a node_id")
        # A regular expression could take long.
        if matcher.node_id.WhichOneof("match_pattern") not in _MATCHES:
            raise ProtocolError(
                "INVALID_ARGUMENT", "node_id is matched by exact, prefix, suffix or contains"
            )
    ids = tuple(matcher.node_id for matcher in request.node_matchers)
    return StatusRequest(ids, request.exclude_resource_contents)


_MATCHES: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}


def _matches(matcher: pb.StringMatcher, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern") or ""
    value = str(getattr(matcher, kind))
    if matcher.ignore_case:
        value, text = value.lower(), text.lower()
    return _MATCHES[kind](text, value)


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


def statuses(
    subscription: Subscription, snapshot: Snapshot, error: str, *, without_contents: bool = False
) -> Iterator[pb.GenericXdsConfig]:
    """Every resource of a type that a client wants, by name, and how far each got.

    The error is of the client's last rejection. Secrets are shown without their contents.
    """
    url, held = subscription.type_url, subscription.holdings.versions
    under_way = subscription.outstanding.contents if subscription.outstanding else {}
    for name in sorted(subscription.wanted_names.given(partial(snapshot.names, url))):
        resource = snapshot.get(url, name)
        version = resource.version if resource else ABSENT
        entry = pb.GenericXdsConfig(type_url=url, name=name, version_info=version)
        if resource and not without_contents and url != SECRET:
            entry.xds_config = resource.packed
        if subscription.nacks.include(name, version):
            state = ConfigStatus.ERROR, ClientStatus.NACKED
            if error:
                entry.error_state.details = error
                entry.error_state.version_info = version
        elif name in under_way:
            state = ConfigStatus.STALE, ClientStatus.REQUESTED
        elif held.get(name) != version:
            state = ConfigStatus.NOT_SENT, ClientStatus.REQUESTED
        else:
            acked = ClientStatus.ACKED if resource else ClientStatus.DOES_NOT_EXIST
            state = ConfigStatus.SYNCED, acked
        entry.config_status, entry.client_status = state
        yield entry


def encode_config(node: Node, resources: Iterable[pb.GenericXdsConfig]) -> bytes:
    """Encode a ``ClientStatusResponse`` about one client; such bytes may follow each other."""
    place = node.locality
    shown = pb.Node(
        id=node.id,
        cluster=node.cluster,
        user_agent_name=node.user_agent,
        user_agent_version=node.version,
        locality=pb.Locality(region=place.region, zone=place.zone, sub_zone=place.sub_zone),
    )
    config = pb.ClientConfig(node=shown, generic_xds_configs=resources)
    return pb.ClientStatusResponse(config=[config]).SerializeToString()
