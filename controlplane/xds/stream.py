"""One stream without I/O: requests and snapshots in, events and responses out.

The caller reads, writes and waits; everything that the protocol decides is decided here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple

from controlplane.resources.resource import TYPE_URLS
from controlplane.resources.snapshot import Revision, Snapshot
from controlplane.resources.views import View
from controlplane.xds.admission import admit, check
from controlplane.xds.client_status import ResourceStatus, statuses
from controlplane.xds.conversation import Conversation, Turn
from controlplane.xds.dialect import Dialect, R
from controlplane.xds.events import Acknowledged, Connected, Event, Rejected, Sent, Unserved
from controlplane.xds.identity import Node
from controlplane.xds.nodes import NodeStatus, Rejection, TypeStatus
from controlplane.xds.responses import with_nonce
from controlplane.xds.standing import Standing, Standings, Step


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
        if self._standings and self.view and self._conversation.has_started:
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
