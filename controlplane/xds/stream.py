"""One stream without I/O: requests and snapshots in, events and responses out."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from controlplane.identity import Identity
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import SECRET, TYPE_URLS, Revision, Snapshot
from controlplane.resources.secret_sources import NO_SECRETS, MergedSecrets
from controlplane.resources.views import View
from controlplane.xds.client_status import statuses
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
from controlplane.xds.node import Node, ProtocolError, admit
from controlplane.xds.protocol import Request, TransportProtocol, with_nonce
from controlplane.xds.state import Answer, SharedAnswer, SharedState, SharedStates, StreamState
from controlplane.xds.subscription import Subscription


def check(request: Request, node: Node, only: str | None) -> str:
    """Check a request of an admitted node; returns the URL of its type.

    `only` is the type that the stream is for; None if it is aggregated. A request that names no
    type, another one or another node is a `ProtocolError`.
    """
    if not request.type_url and only is None:
        raise ProtocolError("INVALID_ARGUMENT", "type_url is required on an aggregated stream")
    if request.type_url and only and request.type_url != only:
        raise ProtocolError("INVALID_ARGUMENT", f"type_url must be {only} or empty here")
    # xDS: only the first request of a stream has to name the node; Envoy can be set to repeat it.
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
    """The status of one type, as operators see it."""

    sent: str = ""
    sent_at: float | None = None
    acknowledged: str = ""
    acknowledged_at: float | None = None
    rejection: Rejection | None = None


class Stream:
    """The server's side of one stream.

    Attributes:
        node: Who is at the other end; None before the first request, as the view.
        secrets: Are this stream's alone, and so is the state of the protocol that is about them:
            what other streams share is about all other types.
    """

    def __init__(
        self,
        protocol: TransportProtocol,
        only: str | None = None,
        shared_states: SharedStates | None = None,
        identity: Identity | None = None,
    ) -> None:
        """Begin before the first request; `only`: the one type that it serves, None for all."""
        self.identity = identity
        self.node: Node | None = None
        self.view: View | None = None
        self.secrets: Snapshot = NO_SECRETS
        self._only = only
        self._connected_at = 0.0
        self._shown: dict[str, _Shown] = {}
        self._nonce = 0
        self._shared_states = shared_states
        self._state = StreamState(protocol)
        self._secret_state = StreamState(protocol)
        self._merged: MergedSecrets | None = None
        self._seen: Revision | None = None
        # The state shared with other streams, if it is, and what the client was sent from there
        # until it has answered.
        self._shared: SharedState | None = None
        self._step: SharedAnswer | None = None
        self._step_nonce = ""

    def decode(self, data: bytes) -> Request:
        """Decode a request without applying it, which may be done in another thread."""
        return self._state.protocol.decode(data)

    def apply(self, request: Request, now: float) -> list[Event]:
        """Apply a request; returns what happened, in order. A `ProtocolError` ends the stream."""
        if self._step is not None and self._only_acknowledges(request, self._step):
            url = self._step.answer.type_url
            self._share(self._step.after)
            return [self._acknowledged(url, now)]
        events: list[Event] = []
        node, view = (self.node, self.view) if self.node else admit(request.node, self.identity)
        url = check(request, node, self._only)
        if self.node is None:
            self.node, self.view, self._connected_at = node, view, now
            events.append(Connected(node))
        if url not in TYPE_URLS:
            # Silence: Envoy stops waiting by itself, and other types go on. "Removed" would be
            # a claim about resources that this server knows nothing of.
            return [*events, Unserved(url[:200])]
        if url != SECRET:
            self._unshare()
        state = self._secret_state if url == SECRET else self._state
        if state.answers(url, request.nonce):
            events.append(self._answered(state, url, request, now))
        self._shown.setdefault(url, _Shown())
        state.request(url, request, node)
        if url != SECRET:
            self._try_to_share()
        return events

    @property
    def has_work(self) -> bool:
        """Whether there may be a response to send now."""
        if self._secrets_have_work or self._shared is None:
            return self._secrets_have_work or self._state.has_work
        return self._step is None and self._state.revision is not self._seen

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was sent is answered."""
        return self._state.is_quiet and self._secret_state.is_quiet

    @property
    def _secrets_have_work(self) -> bool:
        state, held = self._secret_state, self._merged
        if not state.subscriptions:
            return False
        if held is None or held.own is not self.secrets:
            return True
        return state.revision is not held.revision or state.has_work

    def _held_secrets(self, snapshot: Snapshot) -> MergedSecrets:
        """What the client should hold of secrets: its own, and those of its view."""
        held = self._merged
        if (
            not held
            or held.own is not self.secrets
            or held.others.revision is not snapshot.revision
        ):
            self._merged = held = MergedSecrets(self.secrets, snapshot)
        return held

    def next_response(self, snapshot: Snapshot, now: float) -> Response | None:
        """Decide what to send now, and count it as sent; None: there is nothing more."""
        self._seen = snapshot.revision
        if self._secret_state.subscriptions:
            held = self._held_secrets(snapshot)
            secret = self._secret_state.next(held, str(self._nonce + 1))
            if secret is not None:
                return self._sent(secret, now)
        if self._shared is not None:
            if snapshot.revision is self._state.revision:
                return None
            if self._step is not None:
                changes = snapshot.changed_since(self._state.revision)
                if changes is not None and changes.keys() <= {self._step.answer.type_url}:
                    # One response of a type at a time; what is newest then is sent after it.
                    return None
                self._unshare()
            elif (step := self._shared.step(snapshot)) is None:
                self._unshare()
            elif isinstance(step, SharedState):
                self._share(step)
                return None
            else:
                self._step, self._state = step, step.sent
                self._step_nonce = str(self._nonce + 1)
                return self._sent(step.answer, now)
        answer = self._state.next(snapshot, str(self._nonce + 1))
        if answer is not None:
            return self._sent(answer, now)
        self._try_to_share()
        return None

    @property
    def is_rejecting(self) -> bool:
        """Whether the client has rejected a resource, and not accepted another version since."""
        return any(subscription.nacks.resources for _, subscription in self._subscriptions())

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
            self.identity.spiffe_id if self.identity else "",
        )

    def wanted(self, type_url: str) -> Collection[str]:
        """The names of the resources of a type that the client asks for by name."""
        subscription = self._state.subscriptions.get(type_url)
        return subscription.wanted_names.names if subscription is not None else ()

    def resources(
        self, snapshot: Snapshot, *, without_contents: bool = False
    ) -> Iterator[pb.GenericXdsConfig]:
        """How far each resource of a snapshot that the client wants got, by type and name."""
        for url, subscription in self._subscriptions():
            rejection = self._shown[url].rejection
            held = self._held_secrets(snapshot) if url == SECRET else snapshot
            error = rejection.message if rejection else ""
            yield from statuses(subscription, held, error, without_contents=without_contents)

    def _subscriptions(self) -> Iterator[tuple[str, Subscription]]:
        known = self._state.subscriptions | self._secret_state.subscriptions
        return ((url, known[url]) for url in TYPE_URLS if url in known)

    def _types(self) -> Iterator[TypeStatus]:
        for url, subscription in self._subscriptions():
            shown = self._shown[url]
            yield TypeStatus(
                type_url=url,
                wildcard=subscription.wanted_names.wildcard,
                subscribed=len(subscription.wanted_names.names),
                sent=shown.sent,
                sent_at=shown.sent_at,
                acknowledged=shown.acknowledged,
                acknowledged_at=shown.acknowledged_at,
                held=sum(1 for version in subscription.holdings.versions.values() if version),
                rejection=shown.rejection,
                refused=tuple(sorted(subscription.nacks.resources)),
            )

    def _only_acknowledges(self, request: Request, step: SharedAnswer) -> bool:
        """Whether a request accepts a shared answer and says nothing else."""
        url = step.answer.type_url
        return (
            request.nonce == self._step_nonce
            and (request.type_url or self._only) == url
            and request.node is None
            and request.error is None
            and not self._state.protocol.changes(self._state.subscriptions[url], request)
        )

    def _try_to_share(self) -> None:
        """Share the state with other streams, if there is nothing left to send or to answer."""
        if self._shared_states and self.view and self._state.is_settled:
            self._share(self._shared_states.of(self._state, self.view))

    def _share(self, shared: SharedState) -> None:
        self._shared, self._step = shared, None
        self._state = shared.state

    def _unshare(self) -> None:
        if self._shared is None:
            return
        self._state = self._state.copy()
        if self._step is not None:
            self._state.rename(self._step.answer.type_url, self._step_nonce)
        self._shared = self._step = None

    def _sent(self, answer: Answer, now: float) -> Response:
        self._nonce += 1
        nonce = str(self._nonce)
        shown = self._shown[answer.type_url]
        shown.sent, shown.sent_at = answer.version, now
        encoded = with_nonce(answer.body, nonce)
        return Response(
            encoded,
            Sent(answer.type_url, answer.version, answer.changed, answer.gone, len(encoded)),
        )

    def _answered(self, state: StreamState, type_url: str, request: Request, now: float) -> Event:
        """Take the acknowledgement or rejection in a request."""
        if request.error is None:
            state.acknowledge(type_url)
            return self._acknowledged(type_url, now)
        message = request.error.message
        names = state.reject(type_url, request.error.words)
        self._shown[type_url].rejection = Rejection(names, message, now)
        return Rejected(type_url, names, message)

    def _acknowledged(self, type_url: str, now: float) -> Acknowledged:
        shown = self._shown[type_url]
        shown.acknowledged, shown.acknowledged_at = shown.sent, now
        return Acknowledged(type_url, shown.sent)
