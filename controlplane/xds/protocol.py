"""The two transport protocols, delta and state of the world, and where they differ.

Requests of both become plain values, with the fields that the control plane acts on, and responses
are bytes.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import CLUSTER, LISTENER, Resource
from controlplane.xds.holdings import Pending, version_of
from controlplane.xds.nack import CUT, ResponseRules
from controlplane.xds.node import MalformedRequestError, Node, node_of
from controlplane.xds.subscription import WILDCARD, Subscription

MessageT = TypeVar("MessageT", bound=Message)

_LONGEST_ERROR: Final = 4_000
"""Characters of a client's error message that are shown."""
_NO_VERSIONS: Final[Mapping[str, str]] = MappingProxyType({})
_MOST_WORDS: Final = 65_536
"""Characters of it that are read; Envoy cuts them at 4,096 bytes."""


class ErrorDetail(NamedTuple):
    """Why a client rejected a response, in its own words.

    `message` is for display: of a long one the beginning and the end. `words` are for parsing: all
    of them, or a part that ends with `CUT`.
    """

    code: int
    message: str
    words: str


class Request(NamedTuple):
    """A ``DeltaDiscoveryRequest`` or a ``DiscoveryRequest``.

    `names` are to be added (delta) or all that is wanted (state of the world). Of the attributes
    after it a request of the state of the world has the last alone, and one of delta the others.
    """

    type_url: str = ""
    node: Node | None = None
    nonce: str = ""
    error: ErrorDetail | None = None
    names: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = _NO_VERSIONS
    version: str = ""


def parse(message: type[MessageT], data: bytes) -> MessageT:
    """Parse untrusted bytes, or raise `MalformedRequestError`."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise MalformedRequestError(f"not a {message.DESCRIPTOR.name}") from None


def decode_delta(data: bytes) -> Request:
    """Decode a ``DeltaDiscoveryRequest``, or raise `MalformedRequestError` and nothing else."""
    request = parse(pb.DeltaDiscoveryRequest, data)
    subscribe, unsubscribe = request.resource_names_subscribe, request.resource_names_unsubscribe
    versions = request.initial_resource_versions
    # Most requests are acknowledgements, without any of these: no copies of nothing.
    return Request(
        request.type_url,
        node_of(request.node) if request.HasField("node") else None,
        request.response_nonce,
        _error(request.error_detail) if request.HasField("error_detail") else None,
        tuple(subscribe) if subscribe else (),
        tuple(unsubscribe) if unsubscribe else (),
        dict(versions) if versions else _NO_VERSIONS,
    )


def decode_sotw(data: bytes) -> Request:
    """Decode a ``DiscoveryRequest``, or raise `MalformedRequestError` and nothing else."""
    request = parse(pb.DiscoveryRequest, data)
    return Request(
        request.type_url,
        node_of(request.node) if request.HasField("node") else None,
        request.response_nonce,
        _error(request.error_detail) if request.HasField("error_detail") else None,
        tuple(request.resource_names),
        version=request.version_info,
    )


def encode_delta(
    *,
    version: str,
    resources: Iterable[Resource],
    type_url: str,
    nonce: str = "",
    removed: Iterable[str] = (),
) -> bytes:
    """Encode a ``DeltaDiscoveryResponse``; clients show the version, and do not act on it."""
    return pb.DeltaDiscoveryResponse(
        system_version_info=version,
        resources=[resource.framed for resource in resources],
        type_url=type_url,
        nonce=nonce,
        removed_resources=removed,
    ).SerializeToString()


def encode_sotw(*, version: str, resources: Iterable[Resource], type_url: str) -> bytes:
    """Encode a ``DiscoveryResponse``; clients repeat the version in their next requests."""
    return pb.DiscoveryResponse(
        version_info=version,
        resources=[resource.packed for resource in resources],
        type_url=type_url,
    ).SerializeToString()


def with_nonce(response: bytes, nonce: str) -> bytes:
    """Add a nonce to a response of either protocol that was encoded without one.

    Encoded messages that follow each other are merged. The nonce is field 5 in both protocols.
    """
    return response + pb.DeltaDiscoveryResponse(nonce=nonce).SerializeToString()


def _error(status: pb.Status) -> ErrorDetail:
    message = status.message.decode("utf-8", "replace")
    shown = message
    if len(message) > _LONGEST_ERROR:
        # Envoy names the resource first and, behind all that is in it, what is wrong with it.
        half = _LONGEST_ERROR // 2
        shown = message[: half - 3] + " … " + message[-half:]
    words = message if len(message) <= _MOST_WORDS else message[:_MOST_WORDS] + CUT
    return ErrorDetail(status.code, _printable(shown), _printable(words))


def _printable(message: str) -> str:
    """Replace control characters: the message goes to logs and dashboards."""
    return "".join(c if c.isprintable() else " " for c in message)


WHOLE_TYPES: Final = (CLUSTER, LISTENER)
"""xDS: in the state of the world, a response for these has every resource that the client should
hold."""


class Delta:
    """The protocol of ``DeltaAggregatedResources`` and its like."""

    decode = staticmethod(decode_delta)

    def open(self, type_url: str, request: Request, node: Node) -> Subscription:
        """Begin a subscription with the first request for its type, which need not name it.

        ``initial_resource_versions`` count in this request only.
        """
        subscribe, wildcard = request.names, False
        if type_url in WHOLE_TYPES:
            if node.names_its_wildcards and request.initial_versions:
                # Old Envoys reconnect with the names of what the wildcard gave them (envoy#16063).
                subscribe = ()
            # xDS: a first request that names nothing asks for everything, for these two types;
            # names that come later do not end that.
            wildcard = not subscribe
        subscription = Subscription(
            type_url, ResponseRules(), wildcard=wildcard, held=request.initial_versions
        )
        subscription.subscribe(subscribe)
        subscription.unsubscribe(request.unsubscribe)
        return subscription

    def change(self, subscription: Subscription, request: Request) -> None:
        """Add and take away what a later request names; `ProtocolError`: it wants too much."""
        subscription.subscribe(request.names)
        # xDS: the client cannot know whether the wildcard still covers the name; the server must
        # send the resource, or say that it is removed.
        subscription.forced |= subscription.unsubscribe(request.unsubscribe)

    def changes(self, subscription: Subscription, request: Request) -> bool:  # noqa: ARG002
        """Whether a later request wants anything else than the subscription has."""
        return bool(request.names or request.unsubscribe)

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """Encode a ``DeltaDiscoveryResponse`` but for its nonce; returns its version, too."""
        version = subscription.holdings.version_with(pending.contents)
        return version, encode_delta(
            version=version,
            resources=pending.changed,
            type_url=subscription.type_url,
            removed=pending.absent + pending.removed,
        )


class StateOfTheWorld:
    """The protocol of ``StreamAggregatedResources`` and its like."""

    decode = staticmethod(decode_sotw)

    def open(self, type_url: str, request: Request, node: Node) -> Subscription:
        """Begin with the first request for a type."""
        whole = type_url in WHOLE_TYPES
        rules = ResponseRules(
            repeats=whole,
            tells_removals=whole,
            # cds_api_helper.cc, lds_api.cc: it goes on after a bad one and names it; but once a
            # constraint is violated, which it says without a name, it has looked at no resource.
            names_bad_resources=node.user_agent == "envoy",
        )
        subscription = Subscription(
            type_url,
            rules,
            # xDS: so it is for these two types, and until one name was given.
            wildcard=whole and not request.names,
            # A version says nothing of a name that the client dropped and wants again; Envoy would
            # wait for its endpoints in vain. So names are answered, as in delta.
            claim="" if request.names else request.version,
            inherited=() if not request.version else (WILDCARD,) if whole else request.names,
        )
        subscription.subscribe(request.names)
        return subscription

    def change(self, subscription: Subscription, request: Request) -> None:
        """Replace what is wanted; what is news in sent, also at a version known before."""
        if not self.changes(subscription, request):
            return
        wanted_names = subscription.wanted_names
        wanted, known = set(request.names), set(wanted_names.names)
        if wanted_names.wildcard:
            known.add(WILDCARD)
        # Also a wildcard that it had without a name.
        wanted_names.named |= bool(wanted)
        if wanted != known:
            # It was about other names.
            subscription.claim = ""
        subscription.subscribe(wanted - known)
        subscription.unsubscribe(known - wanted)

    def changes(self, subscription: Subscription, request: Request) -> bool:
        """Whether the names are others; the wildcard counts as a name once it was named."""
        wanted_names = subscription.wanted_names
        known = wanted_names.names
        if wanted_names.wildcard and wanted_names.named:
            known = known | {WILDCARD}
        return known != set(request.names)

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """A ``DiscoveryResponse`` with everything or with the news, by type."""
        if subscription.type_url in WHOLE_TYPES:
            resources = subscription.whole(pending)
            version = version_of(resources)
        else:
            resources = [*pending.changed]
            version = subscription.holdings.version_with(pending.contents)
        return version, encode_sotw(
            version=version, resources=resources, type_url=subscription.type_url
        )


TransportProtocol: TypeAlias = Delta | StateOfTheWorld
