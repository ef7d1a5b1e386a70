"""The two transport protocols, delta and state of the world, and where they differ."""

from typing import Final, TypeAlias

from controlplane.resources.resource import CLUSTER, LISTENER
from controlplane.xds.holdings import Pending, version_of
from controlplane.xds.messages import Request, decode_delta, decode_sotw, encode_delta, encode_sotw
from controlplane.xds.nack import ResponseRules
from controlplane.xds.node import Node
from controlplane.xds.subscription import WILDCARD, Subscription

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
