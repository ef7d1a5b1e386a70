"""Preview changes: the changing methods of the client once more, none of which changes anything."""

from collections.abc import Mapping
from typing import Any

from controlplane.api.schema import operations as ops
from controlplane.api.schema.answers import Preview
from controlplane.client import calls
from controlplane.client.calls import Call
from controlplane.client.connection import Connection, read
from controlplane.config import PoolSettings, ReplicaSettings


class Previews:
    """The changing methods of `Client`, with the same arguments; each returns a `Preview`.

    ```python
    preview = await client.preview.delete_replica("minilm", "a")
    for each in preview.diff:
        print(each.name, each.pointer, each.before, "->", each.after)
    ```
    """

    def __init__(self, connection: Connection) -> None:
        """Use the connection of a client."""
        self._connection = connection

    async def put_pool(
        self,
        pool: str,
        settings: PoolSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> Preview:
        """Preview `Client.put_pool`."""
        return await self._ask(calls.put_pool(pool, settings, if_match, create=create))

    async def delete_pool(self, pool: str, *, if_match: str | None = None) -> Preview:
        """Preview `Client.delete_pool`."""
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
        """Preview `Client.put_replica`."""
        return await self._ask(calls.put_replica(pool, replica, settings, if_match, create=create))

    async def put_replicas(
        self,
        pool: str,
        replicas: Mapping[str, ReplicaSettings | Mapping[str, Any]],
        *,
        force: bool = False,
    ) -> Preview:
        """Preview `Client.put_replicas`."""
        return await self._ask(calls.put_replicas(pool, replicas, force=force))

    async def delete_replica(
        self, pool: str, replica: str, *, force: bool = False, if_match: str | None = None
    ) -> Preview:
        """Preview `Client.delete_replica`."""
        return await self._ask(calls.delete_replica(pool, replica, if_match, force=force))

    async def drain(self, pool: str, replica: str, *, if_match: str | None = None) -> Preview:
        """Preview `Client.drain`."""
        return await self._ask(calls.act(ops.DRAIN_REPLICA, pool, replica, if_match))

    async def undrain(self, pool: str, replica: str, *, if_match: str | None = None) -> Preview:
        """Preview `Client.undrain`."""
        return await self._ask(calls.act(ops.UNDRAIN_REPLICA, pool, replica, if_match))

    async def _ask(self, call: Call) -> Preview:
        return read(Preview, (await self._connection.send(call.dry())).body)
