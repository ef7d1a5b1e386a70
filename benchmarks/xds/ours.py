"""The xDS server as the control plane runs it; all that the benchmark knows of it is here."""

import time
from collections.abc import Callable

from benchmarks.xds.fleet import ChangingCatalog
from controlplane.config import Address
from controlplane.latest import Latest
from controlplane.resources.resource import ENDPOINT
from controlplane.xds import Acknowledged, Event, Offer, XdsServer


class Ours:
    """Serves a catalog, and says when a client has acknowledged endpoints."""

    def __init__(self, content: ChangingCatalog, acknowledged: Callable[[], None]) -> None:
        """Prepare to serve.

        Args:
            content: What is served.
            acknowledged: Called for every acknowledgement of endpoints.
        """
        self._content = content
        self._acknowledged = acknowledged
        self._slot: Latest[Offer | None] = Latest(None)
        self._server = XdsServer(Address("127.0.0.1", 0), self._slot, self._observe)

    async def start(self) -> int:
        """Serve; returns the port."""
        self.push()
        return (await self._server.start()).port

    def push(self) -> None:
        """Offer the newest catalog."""
        self._slot.set(Offer(self._content.newest, time.monotonic()))

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop(grace=1)

    def _observe(self, _: str, event: Event) -> None:
        if isinstance(event, Acknowledged) and event.type_url == ENDPOINT:
            self._acknowledged()
