"""What one client and the server have said to each other: the subscriptions of a stream.

A copy costs next to nothing: copies share their subscriptions until one of them changes one. So
streams whose clients want and hold the same can share it all, see `controlplane.xds.standing`.
"""

from typing import Generic, NamedTuple

from controlplane.resources.resource import CLUSTER, ENDPOINT, TYPE_URLS
from controlplane.resources.snapshot import Revision, Snapshot
from controlplane.xds.dialect import Dialect, R
from controlplane.xds.identity import Node
from controlplane.xds.ordering import next_up
from controlplane.xds.pending import Outstanding
from controlplane.xds.subscription import Subscription


class Turn(NamedTuple):
    """One response.

    Attributes:
        type_url: Of the resources in it.
        version: That the client is told.
        body: The encoded response, but for the nonce.
        changed: How many resources are news.
        gone: How many names are said not to exist.
    """

    type_url: str
    version: str
    body: bytes
    changed: int
    gone: int


class Conversation(Generic[R]):
    """The state of the protocol on one stream.

    Attributes:
        dialect: The protocol.
        revision: Of the snapshot that was looked at last.
        subscriptions: By type URL, in the order of `TYPE_URLS`; to be read only.
    """

    __slots__ = ("_active", "_own", "_unanswered", "dialect", "revision", "subscriptions")

    def __init__(self, dialect: Dialect[R]) -> None:
        """Begin before the first request."""
        self.dialect = dialect
        self.revision: Revision | None = None
        self.subscriptions: dict[str, Subscription] = {}
        # By type, those that no other conversation shares.
        self._own: set[str] = set()
        # By type, those that may have something to send. All others need not be looked at.
        self._active: set[str] = set()
        self._unanswered = 0

    def copy(self) -> "Conversation[R]":
        """Another conversation in the same state; afterwards neither changes the other's."""
        other = Conversation(self.dialect)
        other.revision = self.revision
        other.subscriptions = self.subscriptions.copy()
        other._active = self._active.copy()
        other._unanswered = self._unanswered
        self._own.clear()
        return other

    @property
    def has_work(self) -> bool:
        """Whether there may be a response to send now."""
        return any(self.subscriptions[url].has_work for url in self._active)

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was sent is answered."""
        return not self._unanswered

    @property
    def has_started(self) -> bool:
        """Whether the client holds what it wants, with nothing left to send or to answer."""
        return not self._unanswered and all(it.has_started for it in self.subscriptions.values())

    def is_like(self, other: "Conversation[R]") -> bool:
        """Whether the two are in the same state, both being settled at the same revision."""
        return self.subscriptions.keys() == other.subscriptions.keys() and all(
            subscription.is_like(other.subscriptions[url])
            for url, subscription in self.subscriptions.items()
        )

    def request(self, type_url: str, request: R, node: Node) -> None:
        """Apply what a request wants; what it answers was applied before.

        Raises:
            ProtocolError: When it wants too much.
        """
        if type_url in self.subscriptions:
            self.dialect.change(self._mine(type_url), request)
        else:
            known = self.subscriptions | {type_url: self.dialect.open(type_url, request, node)}
            self.subscriptions = {url: known[url] for url in TYPE_URLS if url in known}
            self._own.add(type_url)
        self._active.add(type_url)

    def answers(self, type_url: str, nonce: str) -> bool:
        """Whether a request with this nonce answers the response that is under way."""
        subscription = self.subscriptions.get(type_url)
        outstanding = subscription.outstanding if subscription else None
        # discovery.proto: without a nonce a request is no answer, whatever else it says. An old
        # or unknown nonce answers nothing that still matters; the rest of the request counts.
        return bool(nonce) and outstanding is not None and nonce == outstanding.nonce

    def plainly_answered(self, data: bytes) -> str | None:
        """The type whose response this request acknowledges, saying nothing else; else None."""
        for url, subscription in self.subscriptions.items():
            outstanding = subscription.outstanding
            if outstanding is not None and outstanding.plain_answer == data:
                return url
        return None

    def acknowledge(self, type_url: str) -> None:
        """The client accepted the response of this type that is under way."""
        subscription = self._mine(type_url)
        subscription.acknowledge()
        self._unanswered -= 1
        if subscription.has_work:
            self._active.add(type_url)

    def reject(self, type_url: str, message: str) -> tuple[str, ...]:
        """The client rejected it; returns the names that its words may be about."""
        self._unanswered -= 1
        self._active.add(type_url)
        return self._mine(type_url).reject(message)

    def next(self, snapshot: Snapshot, nonce: str) -> Turn | None:
        """Decide what to send now, and count it as sent; None when there is nothing to send.

        Args:
            snapshot: What the client should hold.
            nonce: By which the client would answer.
        """
        if snapshot.revision is not self.revision:
            self._look_again(snapshot)
        for url in [url for url in self._active if not self.subscriptions[url].has_work]:
            self._active.remove(url)
        if not self._active:
            return None
        for url in self._active:
            self._mine(url)
        chosen = next_up(self._active, self.subscriptions, snapshot)
        if chosen is None:
            return None
        url, pending = chosen
        subscription = self.subscriptions[url]
        if url == CLUSTER and ENDPOINT in self.subscriptions:
            # Envoy wants the endpoints of a cluster again whenever it was sent the cluster, even
            # when it got them before it and by the same version (envoy#13009). A cluster that it
            # refused is sent again where it is repeated, and may be taken this time.
            sent = (resource.name for resource in pending.changed)
            self._mine(ENDPOINT).resend((*sent, *subscription.refusals.repeated))
            self._active.add(ENDPOINT)
        version, body = self.dialect.encode(subscription, pending)
        subscription.sent(nonce, pending, self.dialect.plain_answer(url, nonce))
        self._unanswered += 1
        gone = len(pending.absent) + len(pending.removed)
        return Turn(url, version, body, len(pending.changed), gone)

    def rename(self, type_url: str, nonce: str) -> None:
        """Say by which nonce the client will answer the response of this type under way."""
        subscription = self._mine(type_url)
        if subscription.outstanding:
            plain_answer = self.dialect.plain_answer(type_url, nonce)
            contents = subscription.outstanding.contents
            subscription.outstanding = Outstanding(nonce, dict(contents), plain_answer)

    def _look_again(self, snapshot: Snapshot) -> None:
        changes = snapshot.changed_since(self.revision)
        self.revision = snapshot.revision
        for url in self.subscriptions if changes is None else changes:
            if url in self.subscriptions:
                self._mine(url).look_again(None if changes is None else changes[url])
                self._active.add(url)

    def _mine(self, type_url: str) -> Subscription:
        """A subscription to be changed, of which no other conversation knows."""
        if type_url not in self._own:
            self.subscriptions[type_url] = self.subscriptions[type_url].copy()
            self._own.add(type_url)
        return self.subscriptions[type_url]
