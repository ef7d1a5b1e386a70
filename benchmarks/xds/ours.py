"""The xDS server as the control plane runs it; all that the benchmark knows of it is here."""

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.xds.fleet import ChangingCatalog
from controlplane.config import Address
from controlplane.identity import Admission, Credentials
from controlplane.latest import Latest
from controlplane.resources.resource import ENDPOINT
from controlplane.xds import Acknowledged, Event, Offer, XdsServer, XdsTls
from tests.certificates import DAY, DOMAIN


class Ours:
    """Serves a catalog, and says when a client has acknowledged endpoints."""

    def __init__(
        self, content: ChangingCatalog, acknowledged: Callable[[], None], tls: Path | None
    ) -> None:
        """Prepare to serve.

        Args:
            content: What is served.
            acknowledged: Called for every acknowledgement of endpoints.
            tls: Folder with certificates of both sides; None: plain text.
        """
        self._content = content
        self._acknowledged = acknowledged
        self._slot: Latest[Offer | None] = Latest(None)
        security = None if tls is None else _tls(tls)
        address = Address("127.0.0.1", 0)
        self._server = XdsServer(address, self._slot, self._observe, tls=security)

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


def _tls(folder: Path) -> XdsTls:
    files = ("server.pem", "server-key.pem", "ca.pem")
    credentials = Credentials(*((folder / name).read_bytes() for name in files))
    return XdsTls(credentials, Admission(DOMAIN), max_connection_age=DAY)
