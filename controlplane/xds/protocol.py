"""The two transport protocols, delta and state of the world, and where they differ."""

from functools import lru_cache
from typing import Final, Protocol, TypeVar

from controlplane.resources.encoding import delimited
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
from controlplane.xds.nack import Semantics
from controlplane.xds.node import Node
from controlplane.xds.subscription import WILDCARD, Subscription

R = TypeVar("R", bound=Request)


class Dialect(Protocol[R]):
    """One of the two protocols; `R` is what its requests say."""

    def decode(self, data: bytes) -> R:
        """Decode a request.

        Raises:
            MalformedRequestError: When the bytes are none.
        """

    def open(self, type_url: str, request: R, node: Node) -> Subscription:
        """Begin a subscription with the first request for its type.

        Args:
            type_url: The type; a stream of a single type need not name it.
            request: The request.
            node: Who asks.

        Raises:
            ProtocolError: When the client wants too much.
        """

    def change(self, subscription: Subscription, request: R) -> None:
        """Apply what a later request wants.

        Raises:
            ProtocolError: When the client wants too much.
        """

    def plain_answer(self, type_url: str, nonce: str) -> bytes | None:
        """The request that would acknowledge a response and say nothing else.

        Args:
            type_url: Of the response.
            nonce: Of the response.

        Returns:
            None where clients say more in each request.
        """

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """Encode a response, but for its nonce, which is the last field in both protocols.

        Args:
            subscription: Of its type.
            pending: What is news to the client.

        Returns:
            The version that the client is told, and the encoded response.
        """


class Delta:
    """The dialect of ``DeltaAggregatedResources`` and its like."""

    def decode(self, data: bytes) -> DeltaRequest:
        """Decode a ``DeltaDiscoveryRequest``."""
        return decode_delta(data)

    def open(self, type_url: str, request: DeltaRequest, node: Node) -> Subscription:
        """Begin with the first request for a type.

        ``initial_resource_versions`` count in this one only (discovery.proto).
        """
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
            type_url, Semantics(), wildcard=wildcard, held=request.initial_versions
        )
        subscription.subscribe(subscribe)
        subscription.unsubscribe(request.unsubscribe)
        return subscription

    def change(self, subscription: Subscription, request: DeltaRequest) -> None:
        """Add and take away."""
        subscription.subscribe(request.subscribe)
        # xDS: the client cannot know whether the wildcard still covers the name; the server must
        # send the resource, or say that it is removed.
        subscription.owe(subscription.unsubscribe(request.unsubscribe))

    def plain_answer(self, type_url: str, nonce: str) -> bytes:
        """A ``DeltaDiscoveryRequest`` with a type and a nonce, as any library writes it."""
        return _type_of_answer(type_url) + delimited(6, nonce.encode())

    def encode(self, subscription: Subscription, pending: Pending) -> tuple[str, bytes]:
        """A ``DeltaDiscoveryResponse`` with the news."""
        version = subscription.holdings.version_with(pending.contents)
        return version, encode_delta(
            version=version,
            resources=pending.changed,
            type_url=subscription.type_url,
            removed=pending.absent + pending.removed,
        )


@lru_cache(maxsize=32)
def _type_of_answer(type_url: str) -> bytes:
    return delimited(2, type_url.encode())


WHOLE_TYPES: Final = (CLUSTER, LISTENER)
"""xDS: a response for these has every resource that the client should hold."""


class StateOfTheWorld:
    """The dialect of ``StreamAggregatedResources`` and its like."""

    def decode(self, data: bytes) -> SotwRequest:
        """Decode a ``DiscoveryRequest``."""
        return decode_sotw(data)

    def open(self, type_url: str, request: SotwRequest, node: Node) -> Subscription:
        """Begin with the first request for a type."""
        whole = type_url in WHOLE_TYPES
        semantics = Semantics(
            repeats=whole,
            tells_removals=whole,
            # cds_api_helper.cc, lds_api.cc: it goes on after a bad one and names it; but once a
            # constraint is violated, which it says without a name, it has looked at no resource.
            names_what_it_took_apart=node.user_agent == "envoy",
        )
        subscription = Subscription(
            type_url,
            semantics,
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
        """Replace what is wanted; what is news in it is due, also at a version known before."""
        interest = subscription.interest
        wanted, known = set(request.names), set(interest.names)
        if interest.wildcard:
            if not wanted and not known and not interest.named:
                return
            known.add(WILDCARD)
        # Also a wildcard that it had without a name.
        interest.named |= bool(wanted)
        if wanted != known:
            subscription.distrust()
        subscription.subscribe(wanted - known)
        subscription.unsubscribe(known - wanted)

    def plain_answer(self, type_url: str, nonce: str) -> None:
        """There is none: every request repeats the names."""

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
