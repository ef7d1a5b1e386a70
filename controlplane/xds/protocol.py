"""The two transport protocols, delta and state of the world, and where they differ."""

from typing import Final, Protocol, TypeVar

from controlplane.resources.resource import CLUSTER, LISTENER
from controlplane.xds.holdings import Pending, version_of
from controlplane.xds.messages import (
    DeltaRequest,
    Request,
    SotwRequest,
    decode_delta,
    decode_sotw,
    encode_delta,
    encode_sotw,
)
from controlplane.xds.nack import ResponseRules
from controlplane.xds.node import Node
from controlplane.xds.subscription import WILDCARD, Subscription

R = TypeVar("R", bound=Request)


class TransportProtocol(Protocol[R]):
    """One of the two protocols; `R` is what its requests say."""

    def decode(self, data: bytes) -> R:
        """Decode a request, or raise `MalformedRequestError`."""

    def open(self, type_url: str, request: R, node: Node) -> Subscription:
        """Begin a subscription with the first request for its type, which need not name it."""

    def change(self, subscription: Subscription, request: R) -> None:
        """Apply what a later request wants; `ProtocolError`: it wants too much."""

    def changes(self, subscription: Subscription, request: R) -> bool:
        """Whether a later request wants anything else than the subscription has."""

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """Encode a response but for its nonce; returns its version, too."""


class Delta:
    """The protocol of ``DeltaAggregatedResources`` and its like."""

    decode = staticmethod(decode_delta)

    def open(self, type_url: str, request: DeltaRequest, node: Node) -> Subscription:
        """Begin with a first request; ``initial_resource_versions`` count in this one only."""
        subscribe = request.subscribe
        if type_url in (CLUSTER, LISTENER):
            if node.names_its_wildcards and request.initial_versions:
                # Old Envoys reconnect with the names of what the wildcard gave them (envoy#16063).
                subscribe = ()
            # xDS: a first request that names nothing asks for everything, for these two types;
            # names that come later do not end that.
            wildcard = not subscribe
        else:
            wildcard = False
        subscription = Subscription(
            type_url, ResponseRules(), wildcard=wildcard, held=request.initial_versions
        )
        subscription.subscribe(subscribe)
        subscription.unsubscribe(request.unsubscribe)
        return subscription

    def change(self, subscription: Subscription, request: DeltaRequest) -> None:
        """Add and take away."""
        subscription.subscribe(request.subscribe)
        # xDS: the client cannot know whether the wildcard still covers the name; the server must
        # send the resource, or say that it is removed.
        subscription.force(subscription.unsubscribe(request.unsubscribe))

    def changes(self, subscription: Subscription, request: DeltaRequest) -> bool:  # noqa: ARG002
        """Whether it adds or takes away."""
        return bool(request.subscribe or request.unsubscribe)

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """A ``DeltaDiscoveryResponse`` with the news."""
        version = subscription.holdings.version_with(pending.contents)
        return version, encode_delta(
            version=version,
            resources=pending.changed,
            type_url=subscription.type_url,
            removed=pending.absent + pending.removed,
        )


WHOLE_TYPES: Final = (CLUSTER, LISTENER)
"""xDS: a response for these has every resource that the client should hold."""


class StateOfTheWorld:
    """The protocol of ``StreamAggregatedResources`` and its like."""

    decode = staticmethod(decode_sotw)

    def open(self, type_url: str, request: SotwRequest, node: Node) -> Subscription:
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

    def change(self, subscription: Subscription, request: SotwRequest) -> None:
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
            subscription.drop_claim()
        subscription.subscribe(wanted - known)
        subscription.unsubscribe(known - wanted)

    def changes(self, subscription: Subscription, request: SotwRequest) -> bool:
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
