"""Who is told of what happens on streams, and of how far each catalog got."""

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol, TypeAlias

from controlplane.resources.views import View
from controlplane.xds.events import Event

Observer: TypeAlias = Callable[[str, Event], None]
"""Called with the id of a node and what happened on its stream; must neither block nor raise."""


class Guests(Protocol):
    """Is told which Envoys are connected; no method may block or raise."""

    def envoy_came(self, stream: Hashable, node: str, view: View) -> str | None:
        """A stream has introduced itself; returns why it cannot be served, None where it can."""

    def envoy_left(self, stream: Hashable) -> None:
        """A stream has ended."""


class PushObserver(Protocol):
    """Is told how far each catalog got; no method may block or raise."""

    def begun(self, streams: Iterable[Hashable], noticed_at: float) -> None:
        """A new catalog is about to be sent to these."""

    def written(self, stream: Hashable) -> None:
        """A response was written."""

    def settled(self, stream: Hashable) -> None:
        """A stream has, or has rejected, all that it should have of the newest catalog."""

    def gone(self, stream: Hashable) -> None:
        """A stream has ended."""
