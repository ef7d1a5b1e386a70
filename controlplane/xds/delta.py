"""One aggregated delta stream without I/O: requests and snapshots in, events and responses out.

The caller reads, writes and waits; everything that the protocol decides is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, TYPE_URLS, Snapshot
from controlplane.resources.views import View
from controlplane.xds.admission import admit, check
from controlplane.xds.events import Acknowledged, Connected, Event, Rejected, Sent, Unserved
from controlplane.xds.nodes import NodeStatus, Rejection, TypeStatus
from controlplane.xds.ordering import next_up
from controlplane.xds.requests import DeltaRequest, Node
from controlplane.xds.responses import digest, encode_delta
from controlplane.xds.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Response:
    """One response: the encoded message, and what to tell of it once it is written."""

    encoded: bytes
    event: Sent


@dataclass(slots=True)
class _Shown:
    """What operators see of one type."""

    sent: str = ""
    acknowledged: str = ""
    rejection: Rejection | None = None


class DeltaStream:
    """The server's side of one stream.

    Attributes:
        node: Who is at the other end; None before the first request.
        view: What that node should see; None before the first request.
    """

    def __init__(self) -> None:
        self.node: Node | None = None
        self.view: View | None = None
        self._connected_at = 0.0
        self._subscriptions: dict[str, Subscription] = {}
        self._shown: dict[str, _Shown] = {}
        self._snapshot: Snapshot | None = None
        self._nonce = 0

    def receive(self, request: DeltaRequest, now: float) -> list[Event]:
        """Apply a request.

        Args:
            request: From the client.
            now: Seconds, on a clock that never goes back.

        Returns:
            What happened, in order.

        Raises:
            ProtocolError: When the stream must end.
        """
        events: list[Event] = []
        node, view = (self.node, self.view) if self.node else admit(request.node)
        check(request, node)
        if self.node is None:
            self.node, self.view, self._connected_at = node, view, now
            events.append(Connected(node))
        url = request.type_url
        if url not in TYPE_URLS:
            # Silence: Envoy stops waiting by itself, and other types go on. "Removed" would be
            # a claim about resources that this server knows nothing of.
            return [*events, Unserved(url[:200])]
        subscription = self._subscriptions.get(url)
        if subscription is None:
            self._open(request, node)
        else:
            # initial_resource_versions count in the first request of a type only (discovery.proto).
            events += self._answered(request, subscription, now)
            subscription.change(request.subscribe, request.unsubscribe)
        return events

    def update(self, snapshot: Snapshot) -> None:
        """Set what the client should hold; the newest wins, those in between are never sent."""
        self._snapshot = snapshot

    def next_response(self) -> Response | None:
        """Decide what to send now, and count it as sent; None when there is nothing to send.

        Call it until it returns None after every request and every new snapshot.
        """
        if self._snapshot is None:
            return None
        chosen = next_up(self._subscriptions, self._snapshot)
        if chosen is None:
            return None
        url, pending = chosen
        subscription = self._subscriptions[url]
        if url == CLUSTER and ENDPOINT in self._subscriptions:
            # Envoy wants the endpoints of a cluster again whenever it was sent the cluster, even
            # when it got them before it and by the same version (envoy#13009).
            self._subscriptions[ENDPOINT].resend(resource.name for resource in pending.changed)
        self._nonce += 1
        nonce = str(self._nonce)
        subscription.sent(nonce, pending)
        version = digest(subscription.held | pending.versions)
        self._shown[url].sent = version
        removed = pending.absent + pending.removed
        encoded = encode_delta(
            version=version, resources=pending.changed, type_url=url, nonce=nonce, removed=removed
        )
        return Response(
            encoded, Sent(url, version, len(pending.changed), len(removed), len(encoded))
        )

    def status(self) -> NodeStatus | None:
        """What is known of the node; None before the first request."""
        if self.node is None:
            return None
        node = self.node
        types = (
            TypeStatus(url, shown.sent, shown.acknowledged, held, shown.rejection)
            for url, shown, held in (
                (url, self._shown[url], _count(self._subscriptions[url].held))
                for url in TYPE_URLS
                if url in self._subscriptions
            )
        )
        return NodeStatus(
            node.id,
            node.cluster,
            node.locality,
            node.user_agent,
            node.version,
            self._connected_at,
            tuple(types),
        )

    def _open(self, request: DeltaRequest, node: Node) -> None:
        """Begin a subscription with the first request for its type."""
        subscribe = request.subscribe
        if request.type_url in (CLUSTER, LISTENER):
            if node.names_its_wildcards and request.initial_versions:
                # Old Envoys reconnect with the names of what the wildcard gave them (envoy#16063).
                subscribe = ()
            # xDS: a first request that names nothing asks for everything, for these two types;
            # names that come later do not end that.
            wildcard = not subscribe
        else:
            wildcard = False
        subscription = Subscription(wildcard=wildcard, held=request.initial_versions)
        subscription.change(subscribe, request.unsubscribe)
        self._subscriptions[request.type_url] = subscription
        self._shown[request.type_url] = _Shown()

    def _answered(
        self, request: DeltaRequest, subscription: Subscription, now: float
    ) -> list[Event]:
        """Take the acknowledgement or rejection in a request, if there is one."""
        outstanding = subscription.outstanding
        # discovery.proto: without a nonce a request is no answer, whatever else it says. An old
        # or unknown nonce answers nothing that still matters; the rest of the request counts.
        if not request.nonce or outstanding is None or request.nonce != outstanding.nonce:
            return []
        url, shown = request.type_url, self._shown[request.type_url]
        if request.error is not None:
            message = request.error.message
            names = subscription.reject(message)
            shown.rejection = Rejection(names, message, now)
            return [Rejected(url, names, message)]
        subscription.acknowledge()
        shown.acknowledged = shown.sent
        return [Acknowledged(url, shown.sent)]


def _count(held: Mapping[str, str | None]) -> int:
    return sum(1 for version in held.values() if version)
