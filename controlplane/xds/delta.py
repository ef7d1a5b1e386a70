"""The incremental protocol: requests add and take away names, responses hold what has changed."""

from functools import lru_cache

from controlplane.resources.encoding import delimited
from controlplane.resources.resource import CLUSTER, LISTENER
from controlplane.xds.identity import Node
from controlplane.xds.pending import Pending
from controlplane.xds.requests import DeltaRequest, decode_delta
from controlplane.xds.responses import encode_delta
from controlplane.xds.semantics import Semantics
from controlplane.xds.subscription import Subscription


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
