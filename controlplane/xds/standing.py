"""Streams whose clients want and hold the same, served as one.

Nearly all streams of a fleet are like each other, nearly all of the time: a thousand sidecars want
the same and hold the same, and a change of weights is one and the same response to all of them. So
what follows from a change is worked out once for all streams that stand alike. A stream that
differs in anything goes its own way, until it has settled and stands like others again.
"""

from collections.abc import Hashable
from typing import Any, Generic, NamedTuple
from weakref import WeakValueDictionary

from controlplane.resources.snapshot import Snapshot
from controlplane.resources.views import View
from controlplane.xds.conversation import Conversation, Turn
from controlplane.xds.dialect import R


class Step(NamedTuple, Generic[R]):
    """What follows from a change for every stream that stands alike.

    Attributes:
        turn: The one response to send.
        sent: The state while it is not answered, under no nonce; not to be changed.
        after: Where a stream stands once its client has acknowledged it.
    """

    turn: Turn
    sent: Conversation[R]
    after: "Standing[R]"


class Standing(Generic[R]):
    """A settled conversation that any number of streams may be in.

    Attributes:
        conversation: The state; not to be changed.
    """

    __slots__ = ("__weakref__", "_next", "_revision", "_standings", "_view", "conversation")

    def __init__(self, conversation: Conversation[R], view: View, standings: "Standings") -> None:
        """See `Standings.of`."""
        self.conversation = conversation
        self._view = view
        self._standings = standings
        self._revision = conversation.revision
        self._next: Step[R] | Standing[R] | None = None

    def step(self, snapshot: Snapshot) -> "Step[R] | Standing[R] | None":
        """What follows from another snapshot of the view.

        Returns:
            Another standing when there is nothing to send; None when it takes more than one
            response: then each stream goes its own way.
        """
        if snapshot.revision is not self._revision:
            self._revision, self._next = snapshot.revision, self._follow(snapshot)
        return self._next

    def _follow(self, snapshot: Snapshot) -> "Step[R] | Standing[R] | None":
        sent = self.conversation.copy()
        turn = sent.next(snapshot, "")
        if turn is None:
            return self._standings.of(sent, self._view) if sent.has_started else None
        if sent.next(snapshot, "") is not None:
            return None
        after = sent.copy()
        after.acknowledge(turn.type_url)
        if after.next(snapshot, "") is not None or not after.has_started:
            return None
        return Step(turn, sent, self._standings.of(after, self._view))


class Standings:
    """Finds the standing of streams that have settled."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Hashable, Standing[Any]] = WeakValueDictionary()

    def of(self, conversation: Conversation[R], view: View) -> Standing[R]:
        """The standing of a settled conversation, shared with all that are like it.

        Args:
            conversation: Not to be changed from now on.
            view: What its client is shown.
        """
        described = (
            view,
            type(conversation.dialect),
            conversation.revision,
            *(
                (url, want.wildcard, want.named, len(want.names), it.holdings.version)
                for url, it in conversation.subscriptions.items()
                for want in [it.interest]
            ),
        )
        known = self._known.get(described)
        if known is not None and known.conversation.is_like(conversation):
            return known
        found = Standing(conversation, view, self)
        self._known[described] = found
        return found
