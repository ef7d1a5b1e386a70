"""One decision for all streams whose clients want and hold the same.

Nearly all streams of a fleet are in the same state nearly all of the time, and a change of weights
is the same response to all of them. So what follows from a change is worked out once for each
shared state. A stream that differs in anything has a state of its own until it has settled.
A measurement keeps this: without it a push to a thousand streams takes 2.5 to 2.7 times the CPU of
bare gRPC, with it about half as much (``make bench-xds``).
"""

from collections.abc import Hashable
from typing import NamedTuple
from weakref import WeakValueDictionary

from controlplane.resources.resource import Snapshot
from controlplane.resources.views import View
from controlplane.xds.state import Answer, StreamState


class SharedAnswer(NamedTuple):
    """What follows from a change for every stream in a shared state.

    Attributes:
        sent: The state while it is not answered, under no nonce; not to be changed.
        after: The shared state of a stream whose client has acknowledged it.
    """

    answer: Answer
    sent: StreamState
    after: "SharedState"


class SharedState:
    """A settled state that any number of streams may be in; not to be changed."""

    __slots__ = ("__weakref__", "_next", "_revision", "_shared_states", "_view", "state")

    def __init__(self, state: StreamState, view: View, shared_states: "SharedStates") -> None:
        self.state = state
        self._view = view
        self._shared_states = shared_states
        self._revision = state.revision
        self._next: SharedAnswer | SharedState | None = None

    def step(self, snapshot: Snapshot) -> "SharedAnswer | SharedState | None":
        """Work out what follows from another snapshot of the view.

        Another shared state: there is nothing to send. None: it takes more than one response, and
        each stream needs a state of its own.
        """
        if snapshot.revision is not self._revision:
            self._revision, self._next = snapshot.revision, self._follow(snapshot)
        return self._next

    def _follow(self, snapshot: Snapshot) -> "SharedAnswer | SharedState | None":
        sent = self.state.copy()
        answer = sent.next(snapshot, "")
        if answer is None:
            return self._shared_states.of(sent, self._view) if sent.is_settled else None
        if sent.next(snapshot, "") is not None:
            return None
        after = sent.copy()
        after.acknowledge(answer.type_url)
        if after.next(snapshot, "") is not None or not after.is_settled:
            return None
        return SharedAnswer(answer, sent, self._shared_states.of(after, self._view))


class SharedStates:
    """Finds the shared states of streams that have settled."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Hashable, SharedState] = WeakValueDictionary()

    def of(self, state: StreamState, view: View) -> SharedState:
        """Find the shared state that equals a settled one, or make that one shared."""
        key = (
            view,
            type(state.protocol),
            state.revision,
            *(
                (url, want.wildcard, want.named, len(want.names), subscription.holdings.version)
                for url, subscription in state.subscriptions.items()
                for want in [subscription.wanted_names]
            ),
        )
        known = self._known.get(key)
        if known is not None and known.state.is_same_as(state):
            return known
        found = SharedState(state, view, self)
        self._known[key] = found
        return found
