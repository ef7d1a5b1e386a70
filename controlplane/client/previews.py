"""What changes would come to: the changing methods of a client, of which none changes anything."""

from collections.abc import Mapping
from typing import Any

from controlplane.api.schema import operations as ops
from controlplane.api.schema.answers import Preview
from controlplane.client import calls
from controlplane.client.calls import Call
from controlplane.client.connection import Connection, read
from controlplane.settings import PoolSettings, ReplicaSettings


class Previews:
    """The same methods with the same arguments and errors as of `Client`; each gives a `Preview`.

    ```python
    preview = await client.preview.delete_replica("minilm", "a")
    for it in preview.diff:
        print(it.name, it.pointer, it.before, "->", it.after)
    ```
    """

    def __init__(self, connection: Connection) -> None:
        """Of a client."""
        self._connection = connection

    async def put_pool(
        self,
        pool: str,
        settings: PoolSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> Preview:
        """What adding a pool, or changing its settings, would come to."""
        return await self._ask(calls.put_pool(pool, settings, if_match, create=create))

    async def delete_pool(self, pool: str, *, if_match: str | None = None) -> Preview:
        """What removing a pool would come to."""
        return await self._ask(calls.delete_pool(pool, if_match))

    async def put_replica(
        self,
        pool: str,
        replica: str,
        settings: ReplicaSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> Preview:
        """What adding a replica, or changing it, would come to."""
        return await self._ask(calls.put_replica(pool, replica, settings, if_match, create=create))

    async def put_replicas(
        self,
        pool: str,
        replicas: Mapping[str, ReplicaSettings | Mapping[str, Any]],
        *,
        force: bool = False,
    ) -> Preview:
        """What adding or changing many would come to."""
        return await self._ask(calls.put_replicas(pool, replicas, force=force))

    async def delete_replica(
        self, pool: str, replica: str, *, force: bool = False, if_match: str | None = None
    ) -> Preview:
        """What removing a replica would come to."""
        return await self._ask(calls.delete_replica(pool, replica, if_match, force=force))

    async def drain(self, pool: str, replica: str, *, if_match: str | None = None) -> Preview:
        """What draining a replica would come to."""
        return await self._ask(calls.act(ops.DRAIN_REPLICA, pool, replica, if_match))

    async def undrain(self, pool: str, replica: str, *, if_match: str | None = None) -> Preview:
        """What draining it no longer would come to."""
        return await self._ask(calls.act(ops.UNDRAIN_REPLICA, pool, replica, if_match))

    async def _ask(self, call: Call) -> Preview:
        return read(Preview, (await self._connection.send(call.dry())).body)
