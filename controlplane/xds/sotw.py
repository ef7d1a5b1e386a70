"""State of the world: each request has all the names that are wanted.

A response has all resources of a type where clients take what is missing from it for removed, which
are clusters and listeners, and those that have changed for the other types.
"""

from typing import Final

from controlplane.resources.resource import CLUSTER, LISTENER
from controlplane.xds.holdings import version_of
from controlplane.xds.identity import Node
from controlplane.xds.interest import WILDCARD
from controlplane.xds.pending import Pending
from controlplane.xds.requests import SotwRequest, decode_sotw
from controlplane.xds.responses import encode_sotw
from controlplane.xds.semantics import Semantics
from controlplane.xds.subscription import Subscription

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
