"""One stream without I/O: requests and snapshots in, events and responses out.

The caller reads, writes and waits; everything that the protocol decides is decided here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

from controlplane.resources.resource import CLUSTER, ENDPOINT, TYPE_URLS
from controlplane.resources.snapshot import Revision, Snapshot
from controlplane.resources.views import View
from controlplane.xds.admission import admit, check
from controlplane.xds.client_status import ResourceStatus, statuses
from controlplane.xds.dialect import Dialect, R
from controlplane.xds.events import Acknowledged, Connected, Event, Rejected, Sent, Unserved
from controlplane.xds.identity import Node
from controlplane.xds.nodes import NodeStatus, Rejection, TypeStatus
from controlplane.xds.ordering import next_up
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
    sent_at: float | None = None
    acknowledged: str = ""
    acknowledged_at: float | None = None
    rejection: Rejection | None = None


class Stream(Generic[R]):
    """The server's side of one stream.

    Attributes:
        node: Who is at the other end; None before the first request.
        view: What that node should see; None before the first request.
    """

    def __init__(self, dialect: Dialect[R], only: str | None = None) -> None:
        """Begin before the first request.

        Args:
            dialect: The protocol that is spoken.
            only: The one type of which it is; None for an aggregated stream.
        """
        self.node: Node | None = None
        self.view: View | None = None
        self._dialect = dialect
        self._only = only
        self._connected_at = 0.0
        self._subscriptions: dict[str, Subscription] = {}
        self._shown: dict[str, _Shown] = {}
        self._revision: Revision | None = None
        self._nonce = 0

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Decode and apply a request.

        Raises:
            ProtocolError: When the stream must end.
        """
        return self.apply(self._dialect.decode(data), now)

    def apply(self, request: R, now: float) -> list[Event]:
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
        url = check(request, node, self._only)
        if self.node is None:
            self.node, self.view, self._connected_at = node, view, now
            events.append(Connected(node))
        if url not in TYPE_URLS:
            # Silence: Envoy stops waiting by itself, and other types go on. "Removed" would be
            # a claim about resources that this server knows nothing of.
            return [*events, Unserved(url[:200])]
        subscription = self._subscriptions.get(url)
        if subscription is None:
            self._subscriptions[url] = self._dialect.open(url, request, node)
            self._shown[url] = _Shown()
        else:
            events += self._answered(request, subscription, now)
            self._dialect.change(subscription, request)
        return events

    @property
    def has_work(self) -> bool:
        """Whether there may be a response to send now."""
        return any(subscription.has_work for subscription in self._subscriptions.values())

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was sent is answered."""
        return not any(subscription.outstanding for subscription in self._subscriptions.values())

    def next_response(self, snapshot: Snapshot, now: float) -> Response | None:
        """Decide what to send now, and count it as sent; None when there is nothing to send.

        Call it until it returns None after every request and with every new snapshot; the newest
        wins, those in between need not be shown.

        Args:
            snapshot: What the client should hold.
            now: Seconds, on the clock of `apply`.
        """
        if snapshot.revision != self._revision:
            changes = snapshot.changed_since(self._revision)
            self._revision = snapshot.revision
            for subscription in self._subscriptions.values():
                subscription.look_again(changes)
        if not self.has_work or (chosen := next_up(self._subscriptions, snapshot)) is None:
            return None
        url, pending = chosen
        subscription = self._subscriptions[url]
        if url == CLUSTER and ENDPOINT in self._subscriptions:
            # Envoy wants the endpoints of a cluster again whenever it was sent the cluster, even
            # when it got them before it and by the same version (envoy#13009).
            self._subscriptions[ENDPOINT].resend(resource.name for resource in pending.changed)
        self._nonce += 1
        nonce = str(self._nonce)
        version, encoded = self._dialect.encode(subscription, pending, snapshot, nonce)
        subscription.sent(nonce, pending)
        self._shown[url].sent, self._shown[url].sent_at = version, now
        gone = len(pending.absent) + len(pending.removed)
        return Response(encoded, Sent(url, version, len(pending.changed), gone, len(encoded)))

    def status(self) -> NodeStatus | None:
        """What is known of the node; None before the first request."""
        if self.node is None:
            return None
        node = self.node
        return NodeStatus(
            node.id,
            node.cluster,
            node.locality,
            node.user_agent,
            node.version,
            self._connected_at,
            tuple(self._types()),
        )

    def resources(self, snapshot: Snapshot) -> Iterator[ResourceStatus]:
        """How far each resource that the client wants got, by type and name.

        Args:
            snapshot: What the client should hold.
        """
        for url in TYPE_URLS:
            if subscription := self._subscriptions.get(url):
                rejection = self._shown[url].rejection
                yield from statuses(subscription, snapshot, rejection.message if rejection else "")

    def _types(self) -> Iterator[TypeStatus]:
        for url in TYPE_URLS:
            if subscription := self._subscriptions.get(url):
                shown = self._shown[url]
                yield TypeStatus(
                    type_url=url,
                    wildcard=subscription.wildcard,
                    subscribed=len(subscription.names),
                    sent=shown.sent,
                    sent_at=shown.sent_at,
                    acknowledged=shown.acknowledged,
                    acknowledged_at=shown.acknowledged_at,
                    held=sum(1 for it in subscription.holdings.versions.values() if it),
                    rejection=shown.rejection,
                )

    def _answered(self, request: R, subscription: Subscription, now: float) -> list[Event]:
        """Take the acknowledgement or rejection in a request, if there is one."""
        outstanding = subscription.outstanding
        # discovery.proto: without a nonce a request is no answer, whatever else it says. An old
        # or unknown nonce answers nothing that still matters; the rest of the request counts.
        if not request.nonce or outstanding is None or request.nonce != outstanding.nonce:
            return []
        url, shown = subscription.type_url, self._shown[subscription.type_url]
        if request.error is not None:
            message = request.error.message
            names = subscription.reject(message)
            shown.rejection = Rejection(names, message, now)
            return [Rejected(url, names, message)]
        subscription.acknowledge()
        shown.acknowledged, shown.acknowledged_at = shown.sent, now
        return [Acknowledged(url, shown.sent)]
