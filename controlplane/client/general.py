"""What a client asks of the control plane itself, and the life of its connections."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, Self

from controlplane.client import endpoints
from controlplane.client.answers import Audit, AuditEntry, Live, Node, NodeList, Ready
from controlplane.client.connection import Connection
from controlplane.client.endpoints import Call
from controlplane.client.errors import ClientError
from controlplane.client.events import Event
from controlplane.client.following import followed
from controlplane.client.previews import Previews

PAGE: Final = 500
"""Names in a page; of replicas each takes about 2 kB."""


class General:
    """The part of `Client` that is about no pool."""

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 10.0) -> None:
        """Connect to nobody yet.

        Args:
            url: Of the API, such as ``http://127.0.0.1:8080``.
            token: Sent with every request; None where the control plane wants none.
            timeout: Seconds for one whole request.

        Raises:
            ValueError: The URL or the token is none.
        """
        self._connection = Connection(url, token, timeout)
        self.url = self._connection.url
        self.preview = Previews(self._connection)

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def nodes(self) -> tuple[Node, ...]:
        """The connected Envoys."""
        return NodeList.of(await self._body(Call(endpoints.LIST_NODES))).nodes

    def events(
        self, *, after: str | None = None, on_cut: Callable[[ClientError], None] | None = None
    ) -> AsyncGenerator[Event, None]:
        """Follow what changes, without an end: over cuts and restarts of the control plane too.

        First comes a `StateShown`, unless `after` says where to go on; then what changes. After a
        cut it goes on where it was; where that is not possible there is a `Missed` and a
        `StateShown`. Only the first connection may fail.

        ```python
        async for event in client.events():
            if isinstance(event, ReplicaChanged):
                print(event.pool, event.replica, event.change, event.now)
        ```

        Args:
            after: The `id` of the last event that is known.
            on_cut: Is told whenever the connection is lost, or cannot be had again.
        """
        return followed(self._connection, after, on_cut)

    async def audit(self, *, limit: int = 100, before: int | None = None) -> Audit:
        """Who changed what: the newest entries.

        Args:
            limit: How many at most.
            before: Only those with a smaller number.
        """
        query = {"limit": limit, "before": before}
        return Audit.of(await self._body(Call(endpoints.READ_AUDIT, query=query)))

    async def each_audit_entry(self, page: int = PAGE) -> AsyncIterator[AuditEntry]:
        """All entries that are kept, the newest first.

        Args:
            page: How many are asked for at once.
        """
        before: int | None = None
        while True:
            found = await self.audit(limit=page, before=before)
            for entry in found.entries:
                yield entry
            if (before := found.next) is None:
                return

    async def metrics(self) -> str:
        """The control plane's own metrics, in Prometheus' text format."""
        return str(await self._body(Call(endpoints.READ_METRICS)))

    async def is_live(self) -> bool:
        """Whether the process answers."""
        return Live.of(await self._body(Call(endpoints.IS_LIVE))).live

    async def is_ready(self) -> bool:
        """Whether Envoys are served."""
        received = await self._connection.send(Call(endpoints.IS_READY), expected=(503,))
        return Ready.of(received.body).ready

    async def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the control plane."""
        return dict(await self._body(Call(endpoints.OPENAPI)))

    async def _body(self, call: Call) -> Any:
        return (await self._connection.send(call)).body
