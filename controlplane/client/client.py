"""The client: a method for each operation of the REST API."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from controlplane.client import endpoints
from controlplane.client.answers import Put
from controlplane.client.endpoints import Call
from controlplane.client.general import PAGE, General
from controlplane.client.histories import History
from controlplane.client.patching import insisting, patched
from controlplane.client.pools import Pool, PoolList
from controlplane.client.replicas import Replica, ReplicaList
from controlplane.settings import PoolSettings, ReplicaSettings


class Client(General):
    """Speaks with one control plane; many calls may be under way at once.

    Every method raises a `ClientError`: `UnreachableError` when nobody answers, a `ProblemError`
    such as `NotFoundError` when the control plane refuses, `UnexpectedAnswerError` when somebody
    else answers.

    Attributes:
        url: Of the API.
        preview: What changes would come to, without making them.
    """

    async def pools(self) -> tuple[Pool, ...]:
        """All pools in alphabetical order, in one answer."""
        return PoolList.of(await self._body(Call(endpoints.LIST_POOLS))).pools

    async def each_pool(self, page: int = PAGE) -> AsyncIterator[Pool]:
        """The same pool by pool, however many there are.

        Args:
            page: How many are asked for at once.
        """
        after: str | None = None
        while True:
            query = {"limit": page, "after": after}
            found = PoolList.of(await self._body(Call(endpoints.LIST_POOLS, query=query)))
            for pool in found.pools:
                yield pool
            if (after := found.next) is None:
                return

    async def pool(self, name: str) -> Pool:
        """One pool."""
        return await self._pool(Call(endpoints.GET_POOL, (name,)))

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
        return await self._pool(endpoints.put_pool(name, settings, if_match, create=create))

    async def patch_pool(self, name: str, changes: Mapping[str, Any]) -> Pool:
        """Change some settings of a pool and leave the others; done again if somebody is faster.

        Args:
            name: Of the pool.
            changes: By the name of the setting; a nested one is given whole.
        """

        async def put() -> Pool:
            known = await self.pool(name)
            return await self.put_pool(name, patched(known, changes), if_match=known.etag)

        return await insisting(put)

    async def delete_pool(self, name: str, *, if_match: str | None = None) -> None:
        """Remove a pool with its replicas; drain these first, and let requests finish.

        Of one that the config file declares only what was put over it is removed.

        Args:
            name: Of the pool.
            if_match: Only if it still has this `etag`.
        """
        await self._body(endpoints.delete_pool(name, if_match))

    async def replicas(self, pool: str, *, labels: Iterable[str] = ()) -> tuple[Replica, ...]:
        """The replicas of a pool in alphabetical order of their ids, in one answer.

        Args:
            pool: Its name.
            labels: Only those with all of these, each ``KEY=VALUE`` or ``KEY``.
        """
        query = {"label": tuple(labels)}
        call = Call(endpoints.LIST_REPLICAS, (pool,), query)
        return ReplicaList.of(await self._body(call)).replicas

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
            call = Call(endpoints.LIST_REPLICAS, (pool,), query)
            found = ReplicaList.of(await self._body(call))
            for replica in found.replicas:
                yield replica
            if (after := found.next) is None:
                return

    async def replica(self, pool: str, id_: str) -> Replica:
        """One replica, and why it gets what it gets."""
        return await self._replica(Call(endpoints.GET_REPLICA, (pool, id_)))

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
        return await self._replica(
            endpoints.put_replica(pool, id_, settings, if_match, create=create)
        )

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
        return Put.of(await self._body(endpoints.put_replicas(pool, replicas, force=force)))

    async def patch_replica(self, pool: str, id_: str, changes: Mapping[str, Any]) -> Replica:
        """Change some settings of a replica and leave the others; as `patch_pool` does.

        Args:
            pool: Its name.
            id_: Of the replica.
            changes: By the name of the setting; a nested one is given whole.
        """

        async def put() -> Replica:
            known = await self.replica(pool, id_)
            return await self.put_replica(pool, id_, patched(known, changes), if_match=known.etag)

        return await insisting(put)

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
        await self._body(endpoints.delete_replica(pool, id_, if_match, force=force))

    async def drain(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Send a replica no new requests, but keep it; `in_flight` says how many it still has."""
        return await self._replica(endpoints.act(endpoints.DRAIN_REPLICA, pool, id_, if_match))

    async def undrain(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Let a drained replica have requests again."""
        return await self._replica(endpoints.act(endpoints.UNDRAIN_REPLICA, pool, id_, if_match))

    async def heartbeat(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Renew a replica's lease."""
        return await self._replica(endpoints.act(endpoints.HEARTBEAT_REPLICA, pool, id_, if_match))

    async def history(self, pool: str, id_: str, *, since: str | None = None) -> History:
        """When a replica's share changed in the last hour, and why.

        Args:
            pool: Its name.
            id_: Of the replica.
            since: How far back, such as ``5m``; None: everything that is kept.
        """
        call = Call(endpoints.GET_HISTORY, (pool, id_), {"since": since})
        return History.of(await self._body(call))

    async def _pool(self, call: Call) -> Pool:
        return Pool.of((await self._connection.send(call)).tagged)

    async def _replica(self, call: Call) -> Replica:
        return Replica.of((await self._connection.send(call)).tagged)
