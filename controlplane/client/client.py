"""The client: a method for each operation of the REST API."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from controlplane.api.schema import operations as ops
from controlplane.api.schema.answers import Audit, AuditEntry, Live, Node, NodeList, Put, Ready
from controlplane.api.schema.pools import Pool, PoolList
from controlplane.api.schema.replicas import History, Replica, ReplicaList
from controlplane.client import calls
from controlplane.client.calls import Call
from controlplane.client.connection import Connection, read
from controlplane.client.errors import ClientError, PreconditionFailedError
from controlplane.client.events import Event, followed
from controlplane.client.previews import Previews
from controlplane.settings import PoolSettings, ReplicaSettings

PAGE: Final = 500
"""Names in a page; of replicas each takes about 2 kB."""

_TRIES: Final = 5

_REQUIRED: Final = frozenset({"model", "listener", "address"})
"""Settings that have no default; put as they are, they override nothing."""

T = TypeVar("T")


class Client:
    """Speaks with one control plane; many calls may be under way at once.

    Every method raises a `ClientError`: `UnreachableError` when nobody answers, a `ProblemError`
    such as `NotFoundError` when the control plane refuses, `UnexpectedAnswerError` when somebody
    else answers.

    Attributes:
        url: Of the API.
        preview: What changes would come to, without making them.
    """

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

    async def pools(self) -> tuple[Pool, ...]:
        """All pools in alphabetical order, in one answer."""
        return read(PoolList, await self._body(Call(ops.LIST_POOLS))).pools

    async def each_pool(self, page: int = PAGE) -> AsyncIterator[Pool]:
        """The same pool by pool, however many there are.

        Args:
            page: How many are asked for at once.
        """
        after: str | None = None
        while True:
            query = {"limit": page, "after": after}
            found = read(PoolList, await self._body(Call(ops.LIST_POOLS, query=query)))
            for pool in found.pools:
                yield pool
            if (after := found.next) is None:
                return

    async def pool(self, name: str) -> Pool:
        """One pool."""
        return await self._pool(Call(ops.GET_POOL, (name,)))

    async def put_pool(
        self,
        name: str,
        settings: PoolSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> Pool:
        """Add a pool, or change its settings.

        Args:
            name: Of the pool.
            settings: All of them: what is left out gets its default.
            if_match: Only if it still has this `etag`.
            create: Only if it is not there yet.
        """
        return await self._pool(calls.put_pool(name, settings, if_match, create=create))

    async def patch_pool(self, name: str, changes: Mapping[str, Any]) -> Pool:
        """Change some settings of a pool and leave the others; done again if somebody is faster.

        Args:
            name: Of the pool.
            changes: By the name of the setting; a nested one is given whole.
        """

        async def put() -> Pool:
            known = await self.pool(name)
            return await self.put_pool(name, _patched(known, changes), if_match=known.etag)

        return await _insist(put)

    async def delete_pool(self, name: str, *, if_match: str | None = None) -> None:
        """Remove a pool with its replicas; drain these first, and let requests finish.

        Of one that the config file declares only what was put over it is removed.

        Args:
            name: Of the pool.
            if_match: Only if it still has this `etag`.
        """
        await self._body(calls.delete_pool(name, if_match))

    async def replicas(self, pool: str, *, labels: Iterable[str] = ()) -> tuple[Replica, ...]:
        """The replicas of a pool in alphabetical order of their ids, in one answer.

        Args:
            pool: Its name.
            labels: Only those with all of these, each ``KEY=VALUE`` or ``KEY``.
        """
        query = {"label": tuple(labels)}
        call = Call(ops.LIST_REPLICAS, (pool,), query)
        return read(ReplicaList, await self._body(call)).replicas

    async def each_replica(
        self, pool: str, *, labels: Iterable[str] = (), page: int = PAGE
    ) -> AsyncIterator[Replica]:
        """The same replica by replica, however many there are.

        Args:
            pool: Its name.
            labels: Only those with all of these, each ``KEY=VALUE`` or ``KEY``.
            page: How many are asked for at once.
        """
        wanted, after = tuple(labels), None
        while True:
            query = {"limit": page, "after": after, "label": wanted}
            call = Call(ops.LIST_REPLICAS, (pool,), query)
            found = read(ReplicaList, await self._body(call))
            for replica in found.replicas:
                yield replica
            if (after := found.next) is None:
                return

    async def replica(self, pool: str, id_: str) -> Replica:
        """One replica, and why it gets what it gets."""
        return await self._replica(Call(ops.GET_REPLICA, (pool, id_)))

    async def put_replica(
        self,
        pool: str,
        id_: str,
        settings: ReplicaSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> Replica:
        """Add a replica, or change its settings; renews the lease of one with a ``ttl``.

        Args:
            pool: Its name.
            id_: Of the replica.
            settings: All of them, such as ``{"address": "10.0.0.13:8080", "slots": 2}``: what is
                left out gets its default.
            if_match: Only if it still has this `etag`.
            create: Only if it is not there yet.
        """
        return await self._replica(calls.put_replica(pool, id_, settings, if_match, create=create))

    async def put_replicas(
        self,
        pool: str,
        replicas: Mapping[str, ReplicaSettings | Mapping[str, Any]],
        *,
        force: bool = False,
    ) -> Put:
        """Add or change up to 1,000 replicas in one step, all of them or none; others stay.

        Args:
            pool: Its name.
            replicas: All settings of each, by id.
            force: Even if most of the pool moves to other addresses.
        """
        return read(Put, await self._body(calls.put_replicas(pool, replicas, force=force)))

    async def patch_replica(self, pool: str, id_: str, changes: Mapping[str, Any]) -> Replica:
        """Change some settings of a replica and leave the others; as `patch_pool` does.

        Args:
            pool: Its name.
            id_: Of the replica.
            changes: By the name of the setting; a nested one is given whole.
        """

        async def put() -> Replica:
            known = await self.replica(pool, id_)
            return await self.put_replica(pool, id_, _patched(known, changes), if_match=known.etag)

        return await _insist(put)

    async def delete_replica(
        self, pool: str, id_: str, *, force: bool = False, if_match: str | None = None
    ) -> None:
        """Remove a replica; it gets no new requests, and those that it has finish.

        Args:
            pool: Its name.
            id_: Of the replica.
            force: However many of the pool went in the last ten seconds.
            if_match: Only if it still has this `etag`.
        """
        await self._body(calls.delete_replica(pool, id_, if_match, force=force))

    async def drain(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Send a replica no new requests, but keep it; `in_flight` says how many it still has."""
        return await self._replica(calls.act(ops.DRAIN_REPLICA, pool, id_, if_match))

    async def undrain(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Let a drained replica have requests again."""
        return await self._replica(calls.act(ops.UNDRAIN_REPLICA, pool, id_, if_match))

    async def heartbeat(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Renew a replica's lease."""
        return await self._replica(calls.act(ops.HEARTBEAT_REPLICA, pool, id_, if_match))

    async def history(self, pool: str, id_: str, *, since: str | None = None) -> History:
        """When a replica's share changed in the last hour, and why.

        Args:
            pool: Its name.
            id_: Of the replica.
            since: How far back, such as ``5m``; None: everything that is kept.
        """
        call = Call(ops.GET_HISTORY, (pool, id_), {"since": since})
        return read(History, await self._body(call))

    async def nodes(self) -> tuple[Node, ...]:
        """The connected Envoys."""
        return read(NodeList, await self._body(Call(ops.LIST_NODES))).nodes

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
        return read(Audit, await self._body(Call(ops.READ_AUDIT, query=query)))

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
        return str(await self._body(Call(ops.READ_METRICS)))

    async def is_live(self) -> bool:
        """Whether the process answers."""
        return read(Live, await self._body(Call(ops.IS_LIVE))).live

    async def is_ready(self) -> bool:
        """Whether Envoys are served."""
        received = await self._connection.send(Call(ops.IS_READY), expected=(503,))
        return read(Ready, received.body).ready

    async def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of the control plane."""
        return dict(await self._body(Call(ops.OPENAPI)))

    async def _pool(self, call: Call) -> Pool:
        return read(Pool, (await self._connection.send(call)).tagged)

    async def _replica(self, call: Call) -> Replica:
        return read(Replica, (await self._connection.send(call)).tagged)

    async def _body(self, call: Call) -> Any:
        return (await self._connection.send(call)).body


def _patched(known: Pool | Replica, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be put so that only the changes change.

    What the config file says, and defaults, are left to it: put, they would outlast it.

    Args:
        known: As it is.
        changes: By the name of the setting.
    """
    settings = known.settings
    theirs = {key for key, source in known.sources.items() if source in ("file", "default")}
    return {
        **{key: it for key, it in settings.items() if key not in theirs - _REQUIRED},
        **changes,
    }


async def _insist(put: Callable[[], Awaitable[T]]) -> T:
    """Put, and again when somebody else was faster.

    Raises:
        PreconditionFailedError: Somebody was, every time.
    """
    for _ in range(_TRIES - 1):
        try:
            return await put()
        except PreconditionFailedError:
            continue
    return await put()
