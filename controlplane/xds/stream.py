"""One stream without I/O: requests and snapshots in, events and responses out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_URLS
from controlplane.resources.snapshot import Revision, Snapshot
from controlplane.resources.views import View
from controlplane.xds.client_status import ResourceStatus, statuses
from controlplane.xds.errors import ProtocolError
from controlplane.xds.events import (
    Acknowledged,
    Connected,
    Event,
    NodeStatus,
    Rejected,
    Rejection,
    Sent,
    TypeStatus,
    Unserved,
)
from controlplane.xds.holdings import Outstanding, Pending
from controlplane.xds.messages import Request, with_nonce
from controlplane.xds.node import Node, admit
from controlplane.xds.protocol import Dialect, R
from controlplane.xds.sharing import Standing, Standings, Step
from controlplane.xds.subscription import Subscription


def next_up(
    active: set[str], subscriptions: Mapping[str, Subscription], snapshot: Snapshot
) -> tuple[str, Pending] | None:
    """Choose the type to send next and what of it.

    Args:
        active: The types that may have something to send. Those that have nothing, or may not be
            sent before an answer has come, are taken out.
        subscriptions: Of one stream, by type URL.
        snapshot: What its client should hold.

    Returns:
        None when nothing can be sent now. Neither a type that waits for an acknowledgement nor
        one that the client did not ask for holds up the types after it, but for two cases: see
        `_waits_for_clusters` and `_clusters_may_go`.
    """
    gone: tuple[str, ...] = ()
    for type_url in [*active] if len(active) < 2 else filter(active.__contains__, TYPE_URLS):
        subscription = subscriptions[type_url]
        if not subscription.has_work:
            active.remove(type_url)
            continue
        if _waits_for_clusters(type_url, subscriptions):
            continue
        pending = subscription.pending(snapshot)
        if type_url == CLUSTER:
            gone = pending.removed
            if gone:
                pending = Pending(pending.changed, pending.absent)
        if pending.changed and subscription.refusals.isolate(snapshot):
            # What the client has already cannot be the bad one.
            held = subscription.holdings.versions
            had = [it for it in pending.changed if held.get(it.name) == it.version]
            pending = Pending(had or pending.changed[:1], pending.absent, pending.removed)
        if pending or subscription.owes_answer:
            return type_url, pending
    # Never in the first answer on a stream: when that is acknowledged, a client that reconnected
    # has also asked for its listeners and routes, and these are known to be the new ones.
    if gone and _clusters_may_go(subscriptions, snapshot):
        return CLUSTER, Pending(removed=gone)
    return None


def _waits_for_clusters(type_url: str, subscriptions: Mapping[str, Subscription]) -> bool:
    """Whether clusters are under way that this type must wait for."""
    if type_url not in (LISTENER, ROUTE):
        return False
    # Envoy withholds the acknowledgement of clusters while one of them warms, "providing a signal
    # to ADS to proceed with RDS updates" (cluster_manager_impl.cc): a route to a warming cluster
    # answers 503. Endpoints must not wait for it, since warming is waiting for endpoints.
    clusters = subscriptions.get(CLUSTER)
    return clusters is not None and clusters.outstanding is not None


def _clusters_may_go(subscriptions: Mapping[str, Subscription], snapshot: Snapshot) -> bool:
    """Whether nothing that the client still uses can point to clusters that are no more."""
    for type_url in (ENDPOINT, LISTENER, ROUTE):
        subscription = subscriptions.get(type_url)
        if subscription and subscription.outstanding:
            return False
    # A client that refused its new routes still uses the ones before, and the clusters in them.
    return not any(
        subscriptions[type_url].refusals.concern(snapshot)
        for type_url in (LISTENER, ROUTE)
        if type_url in subscriptions
    )


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
    def is_settled(self) -> bool:
        """Whether the client holds what it wants, with nothing left to send or to answer."""
        return not self._unanswered and all(it.is_settled for it in self.subscriptions.values())

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


def check(request: Request, node: Node, only: str | None) -> str:
    """Check any request of an admitted node.

    Args:
        request: The request.
        node: Who introduced itself on the stream.
        only: The type that the stream is for; None if it is aggregated.

    Returns:
        The URL of the type that it is about.

    Raises:
        ProtocolError: When it names no type or not the stream's, or another node.
    """
    if not request.type_url and only is None:
        raise ProtocolError("INVALID_ARGUMENT", "type_url is required on an aggregated stream")
    if request.type_url and only and request.type_url != only:
        raise ProtocolError("INVALID_ARGUMENT", f"type_url must be {only} or empty here")
    # xDS: only the first request of a stream has to name the node; Envoy can be told to repeat it.
    again = request.node
    if again and (again.id, again.cluster, again.metadata) != (
        node.id,
        node.cluster,
        node.metadata,
    ):
        raise ProtocolError("INVALID_ARGUMENT", "the node changed within a stream")
    return request.type_url or only or ""


class Response(NamedTuple):
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

    __slots__ = (
        "_connected_at",
        "_conversation",
        "_nonce",
        "_only",
        "_plain_answer",
        "_seen",
        "_shown",
        "_standing",
        "_standings",
        "_step",
        "node",
        "view",
    )

    def __init__(
        self, dialect: Dialect[R], only: str | None = None, standings: Standings | None = None
    ) -> None:
        """Begin before the first request.

        Args:
            dialect: The protocol that is spoken.
            only: The one type of which it is; None for an aggregated stream.
            standings: Shared by the streams of a server; None: this one is alone.
        """
        self.node: Node | None = None
        self.view: View | None = None
        self._only = only
        self._connected_at = 0.0
        self._shown: dict[str, _Shown] = {}
        self._nonce = 0
        self._standings = standings
        self._conversation = Conversation(dialect)
        self._seen: Revision | None = None
        # Where it stands with others; then its conversation is theirs too. And what it was sent
        # from there, until the client has answered.
        self._standing: Standing[R] | None = None
        self._step: Step[R] | None = None
        self._plain_answer: bytes | None = None

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Decode and apply a request.

        Raises:
            ProtocolError: When the stream must end.
        """
        # Hardly any request is more than an acknowledgement, and decoding it is most of the work.
        if self._step is not None and data == self._plain_answer:
            url = self._step.turn.type_url
            self._stand(self._step.after)
            return [self._acknowledged(url, now)]
        if self._standing is None and (answered := self._conversation.plainly_answered(data)):
            self._conversation.acknowledge(answered)
            self._settle()
            return [self._acknowledged(answered, now)]
        return self.apply(self._conversation.dialect.decode(data), now)

    def decode(self, data: bytes) -> R:
        """Decode a request without applying it, which may be done in another thread.

        Raises:
            MalformedRequestError: When the bytes are none.
        """
        return self._conversation.dialect.decode(data)

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
        self._stand_alone()
        if self._conversation.answers(url, request.nonce):
            events.append(self._answered(url, request, now))
        self._shown.setdefault(url, _Shown())
        self._conversation.request(url, request, node)
        return events

    @property
    def has_work(self) -> bool:
        """Whether there may be a response to send now."""
        if self._standing is None:
            return self._conversation.has_work
        return self._step is None and self._conversation.revision is not self._seen

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was sent is answered."""
        return self._conversation.is_quiet

    def next_response(self, snapshot: Snapshot, now: float) -> Response | None:
        """Decide what to send now, and count it as sent; None when there is nothing to send.

        Call it until it returns None after every request and with every new snapshot; the newest
        wins, those in between need not be shown.

        Args:
            snapshot: What the client should hold.
            now: Seconds, on the clock of `apply`.
        """
        self._seen = snapshot.revision
        if self._standing is not None:
            if snapshot.revision is self._conversation.revision:
                return None
            if self._step is not None:
                changes = snapshot.changed_since(self._conversation.revision)
                if changes is not None and changes.keys() <= {self._step.turn.type_url}:
                    # One response of a type at a time; what is newest then is sent after it.
                    return None
                self._stand_alone()
            elif (step := self._standing.step(snapshot)) is None:
                self._stand_alone()
            elif isinstance(step, Standing):
                self._stand(step)
                return None
            else:
                self._step, self._conversation = step, step.sent
                return self._sent(step.turn, now)
        turn = self._conversation.next(snapshot, str(self._nonce + 1))
        if turn is not None:
            return self._sent(turn, now)
        self._settle()
        return None

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
        for url, subscription in self._conversation.subscriptions.items():
            rejection = self._shown[url].rejection
            yield from statuses(subscription, snapshot, rejection.message if rejection else "")

    def _types(self) -> Iterator[TypeStatus]:
        for url, subscription in self._conversation.subscriptions.items():
            shown = self._shown[url]
            yield TypeStatus(
                type_url=url,
                wildcard=subscription.interest.wildcard,
                subscribed=len(subscription.interest.names),
                sent=shown.sent,
                sent_at=shown.sent_at,
                acknowledged=shown.acknowledged,
                acknowledged_at=shown.acknowledged_at,
                held=sum(1 for it in subscription.holdings.versions.values() if it),
                rejection=shown.rejection,
                refused=tuple(sorted(subscription.refusals.resources)),
            )

    def _settle(self) -> None:
        """Stand with others, if there is nothing left to say."""
        if self._standings and self.view and self._conversation.is_settled:
            self._stand(self._standings.of(self._conversation, self.view))

    def _stand(self, standing: Standing[R]) -> None:
        """Be where others are, or may come to be."""
        self._standing, self._step = standing, None
        self._conversation = standing.conversation

    def _stand_alone(self) -> None:
        """Have a conversation of its own, in the same state."""
        if self._standing is None:
            return
        self._conversation = self._conversation.copy()
        if self._step is not None:
            self._conversation.rename(self._step.turn.type_url, str(self._nonce))
        self._standing = self._step = None

    def _sent(self, turn: Turn, now: float) -> Response:
        self._nonce += 1
        nonce = str(self._nonce)
        if self._step is not None:
            self._plain_answer = self._conversation.dialect.plain_answer(turn.type_url, nonce)
        shown = self._shown[turn.type_url]
        shown.sent, shown.sent_at = turn.version, now
        encoded = with_nonce(turn.body, nonce)
        return Response(
            encoded, Sent(turn.type_url, turn.version, turn.changed, turn.gone, len(encoded))
        )

    def _answered(self, type_url: str, request: R, now: float) -> Event:
        """Take the acknowledgement or rejection in a request."""
        if request.error is None:
            self._conversation.acknowledge(type_url)
            return self._acknowledged(type_url, now)
        message = request.error.message
        names = self._conversation.reject(type_url, request.error.words)
        self._shown[type_url].rejection = Rejection(names, message, now)
        return Rejected(type_url, names, message)

    def _acknowledged(self, type_url: str, now: float) -> Acknowledged:
        shown = self._shown[type_url]
        shown.acknowledged, shown.acknowledged_at = shown.sent, now
        return Acknowledged(type_url, shown.sent)
