"""Where connected Envoys listen other than the pools say: they moved listeners, or are gateways."""

from collections.abc import Hashable

from controlplane.resources.views import View
from controlplane.settings import Address
from controlplane.settings.listeners import Listeners


class MovedListeners:
    """Follows the streams that are open.

    Attributes:
        listeners: Of all of them.
    """

    def __init__(self) -> None:
        """Begin with no stream."""
        self.listeners = Listeners()
        self._known: dict[Hashable, dict[Address, str]] = {}
        self._users: dict[Address, set[Hashable]] = {}

    def came(self, stream: Hashable, node: str, view: View) -> None:
        """A stream has begun.

        Args:
            stream: Tells it from others.
            node: Its id.
            view: What it is shown.
        """
        known = moved_by(node, view)
        if not known:
            return
        self._known[stream] = known
        for address, whose in known.items():
            self._users.setdefault(address, set()).add(stream)
            self.listeners.add(address, whose)

    def left(self, stream: Hashable) -> None:
        """A stream has ended."""
        for address in self._known.pop(stream, ()):
            users = self._users[address]
            users.discard(stream)
            if not users:
                del self._users[address]
                self.listeners.discard(address)


def moved_by(node: str, view: View) -> dict[Address, str]:
    """Where a node listens that the pools do not say, and what for."""
    found = {address: f"pool {pool!r} on node {node!r}" for pool, address in view.listen}
    if view.gateway is not None:
        found[view.gateway] = f"the gateway {node!r}"
    return found
