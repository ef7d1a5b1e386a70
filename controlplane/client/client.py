"""The client: a method for each operation of the REST API, and one for each preview of a change."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Generic, Self, TypeVar

from controlplane.api import schema
from controlplane.api.schema import Pool, Preview, Put, Replica
from controlplane.api.schema import operations as ops
from controlplane.api.schema.operations import IF_MATCH, IF_NONE_MATCH
from controlplane.client.connection import Call, Connection, Tls, read
from controlplane.client.errors import ClientError, PreconditionFailedError, UnexpectedAnswerError
from controlplane.client.events import Event, followed
from controlplane.config import PoolSettings, ReplicaSettings

PAGE: Final = 500
"""Names in a page; a replica takes about 2 kB."""

_TRIES: Final = 5

_REQUIRED: Final = frozenset({"model", "listener", "address"})
"""Settings without a default; a put must have them, and the same values override nothing."""

T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=schema.Answer)
ListT = TypeVar("ListT", schema.PoolList, schema.ReplicaList)
PoolT = TypeVar("PoolT")
ReplicaT = TypeVar("ReplicaT")
PutT = TypeVar("PutT")
NothingT = TypeVar("NothingT")


class Changes(Generic[PoolT, ReplicaT, PutT, NothingT]):
    """The methods that change something: `Client` changes it, `Client.preview` only shows it.

    With `if_match`, a change happens only if the pool or replica still has this `etag`; with
    `create`, only if there is none yet.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put_pool(
        self,
        name: str,
        settings: PoolSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> PoolT:
        """Add a pool, or replace all its settings; a setting that is left out gets its default."""
        headers = _conditions(if_match, create=create)
        return await self._pool(Call(ops.PUT_POOL, (name,), headers=headers, body=_plain(settings)))

    async def delete_pool(self, name: str, *, if_match: str | None = None) -> NothingT:
        """Remove a pool with its replicas; drain them first, and let requests finish.

        For a pool of the config file, only what was put over it is removed.
        """
        return await self._nothing(Call(ops.DELETE_POOL, (name,), headers=_conditions(if_match)))

    async def put_replica(
        self,
        pool: str,
        id_: str,
        settings: ReplicaSettings | Mapping[str, Any],
        *,
        if_match: str | None = None,
        create: bool = False,
    ) -> ReplicaT:
        """Add a replica, or replace all its settings; renew its lease if it has a ``ttl``.

        Settings are such as ``{"address": "10.0.0.13:8080", "slots": 2}``.
        """
        headers, body = _conditions(if_match, create=create), _plain(settings)
        return await self._replica(Call(ops.PUT_REPLICA, (pool, id_), headers=headers, body=body))

    async def put_replicas(
        self,
        pool: str,
        replicas: Mapping[str, ReplicaSettings | Mapping[str, Any]],
        *,
        force: bool = False,
    ) -> PutT:
        """Add or change up to 1,000 replicas in one step, all of them or none; other replicas stay.

        Args:
            replicas: All settings of each replica, by id.
            force: Put them even if most of the pool moves to other addresses.
        """
        entries = [{**_plain(settings), "id": id_} for id_, settings in replicas.items()]
        query, body = {"force": force or None}, {"replicas": entries}
        return await self._put(Call(ops.PUT_REPLICAS, (pool,), query, body=body))

    async def delete_replica(
        self, pool: str, id_: str, *, force: bool = False, if_match: str | None = None
    ) -> NothingT:
        """Remove a replica; it gets no new requests, and requests in flight finish.

        With `force`, however many replicas of the pool were removed in the last ten seconds.
        """
        query, headers = {"force": force or None}, _conditions(if_match)
        return await self._nothing(Call(ops.DELETE_REPLICA, (pool, id_), query, headers))

    async def drain(self, pool: str, id_: str, *, if_match: str | None = None) -> ReplicaT:
        """Send a replica no new requests, but keep it; `in_flight` says how many are left."""
        headers = _conditions(if_match)
        return await self._replica(Call(ops.DRAIN_REPLICA, (pool, id_), headers=headers))

    async def undrain(self, pool: str, id_: str, *, if_match: str | None = None) -> ReplicaT:
        """Let a drained replica have requests again."""
        headers = _conditions(if_match)
        return await self._replica(Call(ops.UNDRAIN_REPLICA, (pool, id_), headers=headers))

    async def _pool(self, call: Call) -> PoolT:
        raise NotImplementedError

    async def _replica(self, call: Call) -> ReplicaT:
        raise NotImplementedError

    async def _put(self, call: Call) -> PutT:
        raise NotImplementedError

    async def _nothing(self, call: Call) -> NothingT:
        raise NotImplementedError


class Previews(Changes[Preview, Preview, Preview, Preview]):
    """The changing methods of `Client`, with the same arguments; each only returns a `Preview`.

    ```python
    preview = await client.preview.delete_replica("minilm", "a")
    for each in preview.diff:
        print(each.name, each.pointer, each.before, "->", each.after)
    ```
    """

    async def _pool(self, call: Call) -> Preview:
        return read(Preview, (await self._connection.send(call.asking(dry_run=True))).body)

    _replica = _put = _nothing = _pool


class Client(Changes[Pool, Replica, Put, None]):
    """Speaks with one control plane; many calls may be under way at once.

    Every method raises a `ClientError`: `UnreachableError` when nothing answers, a `ProblemError`
    such as `NotFoundError` when the control plane refuses, `UnexpectedAnswerError` when something
    else answers.

    Attributes:
        preview: The changing methods, which only show what a change would lead to.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
    ) -> None:
        """Prepare a client; no connection is opened yet.

        Args:
            url: The URL of the API, such as ``http://127.0.0.1:8080``.
            token: Sent with every request; None where the control plane needs none.
            timeout: Seconds for one whole request.
            ca: For https: the file with the roots to trust; None: those of this machine.
            certificate: For https: the file with the client's certificate; None: none is shown.
            key: The file with the certificate's key; None: it is in the same file.

        Raises:
            ValueError: The URL, the token or a file cannot be used.
        """
        super().__init__(Connection(url, token, timeout, Tls(ca, certificate, key)))
        self.url = self._connection.url
        self.preview = Previews(self._connection)

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def pools(self) -> tuple[Pool, ...]:
        """Read all pools in alphabetical order, in one answer."""
        return (await self._read(schema.PoolList, Call(ops.LIST_POOLS))).pools

    async def each_pool(self, page: int = PAGE) -> AsyncIterator[Pool]:
        """Read all pools, so many in each request."""
        call = Call(ops.LIST_POOLS, query={"limit": page})
        async for found in self._pages(schema.PoolList, call):
            for pool in found.pools:
                yield pool

    async def pool(self, name: str) -> Pool:
        """Read one pool."""
        return await self._pool(Call(ops.GET_POOL, (name,)))

    async def scaling(self, pool: str) -> schema.Scaling:
        """Read how many replicas a pool should have, and why."""
        return await self._read(schema.Scaling, Call(ops.GET_SCALING, (pool,)))

    async def pool_history(self, name: str, *, since: str | None = None) -> schema.PoolHistory:
        """Read what the replicas of a pool did together, since ``5m`` ago or in the last hour."""
        call = Call(ops.GET_POOL_HISTORY, (name,), {"since": since})
        return await self._read(schema.PoolHistory, call)

    async def resources(self, pool: str) -> schema.PoolResources:
        """Read a pool as Envoys get it."""
        return await self._read(schema.PoolResources, Call(ops.GET_RESOURCES, (pool,)))

    async def node_resources(
        self, metadata: Mapping[str, Any], locality: Mapping[str, str] | None = None
    ) -> schema.NodeResources:
        """Read what an Envoy would be sent now; it need not be connected.

        Args:
            metadata: What its bootstrap says under `node.metadata`.
            locality: The same under `node.locality`.
        """
        body = {"metadata": dict(metadata), "locality": dict(locality or {})}
        return await self._read(schema.NodeResources, Call(ops.GET_NODE_RESOURCES, body=body))

    async def patch_pool(self, name: str, changes: Mapping[str, Any]) -> Pool:
        """Change some settings of a pool and keep the others.

        A nested setting is replaced whole. Retries when somebody else changes the pool meanwhile.
        """

        async def put() -> Pool:
            known = await self.pool(name)
            return await self.put_pool(name, _patched(known, changes), if_match=known.etag)

        return await _retried(put)

    async def replicas(self, pool: str, *, labels: Iterable[str] = ()) -> tuple[Replica, ...]:
        """Read the replicas of a pool in alphabetical order of their ids, in one answer.

        With labels, each ``KEY=VALUE`` or ``KEY``: only replicas that have all of them.
        """
        call = Call(ops.LIST_REPLICAS, (pool,), {"label": tuple(labels)})
        return (await self._read(schema.ReplicaList, call)).replicas

    async def each_replica(
        self,
        pool: str,
        *,
        labels: Iterable[str] = (),
        page: int = PAGE,
        after: str | None = None,
    ) -> AsyncIterator[Replica]:
        """Read the same, so many in each request, from the first id after `after` on."""
        query = {"limit": page, "after": after, "label": tuple(labels)}
        async for found in self._pages(schema.ReplicaList, Call(ops.LIST_REPLICAS, (pool,), query)):
            for replica in found.replicas:
                yield replica

    async def replica(self, pool: str, id_: str) -> Replica:
        """Read one replica, and why it gets what it gets."""
        return await self._replica(Call(ops.GET_REPLICA, (pool, id_)))

    async def patch_replica(self, pool: str, id_: str, changes: Mapping[str, Any]) -> Replica:
        """Change some settings of a replica and keep the others, as `patch_pool` does."""

        async def put() -> Replica:
            known = await self.replica(pool, id_)
            return await self.put_replica(pool, id_, _patched(known, changes), if_match=known.etag)

        return await _retried(put)

    async def heartbeat(self, pool: str, id_: str, *, if_match: str | None = None) -> Replica:
        """Renew a replica's lease."""
        headers = _conditions(if_match)
        return await self._replica(Call(ops.HEARTBEAT_REPLICA, (pool, id_), headers=headers))

    async def history(self, pool: str, id_: str, *, since: str | None = None) -> schema.History:
        """Read when a replica's share changed, and why, since ``5m`` ago or in the last hour."""
        return await self._read(
            schema.History, Call(ops.GET_HISTORY, (pool, id_), {"since": since})
        )

    async def nodes(self) -> tuple[schema.Node, ...]:
        """Read the connected Envoys."""
        return (await self.node_list()).nodes

    async def node_list(self) -> schema.NodeList:
        """Read the connected Envoys, and the Envoys refused lately."""
        return await self._read(schema.NodeList, Call(ops.LIST_NODES))

    def events(
        self, *, after: str | None = None, on_cut: Callable[[ClientError], None] | None = None
    ) -> AsyncGenerator[Event, None]:
        """Follow what changes, without an end, over cuts and restarts of the control plane.

        First comes a `PoolList`, the present state, unless `after` says where to continue; then
        each change. After a cut the events continue; where that is not possible, a `MissedEvent`
        and the state come. Only the first connection may fail.

        ```python
        async for event in client.events():
            if isinstance(event.what, ReplicaEvent):
                print(event.what.pool, event.what.id, event.what.change)
        ```

        Args:
            after: The `id` of the last known event.
            on_cut: Called whenever the connection is lost or cannot be opened again.
        """
        return followed(self._connection, after, on_cut)

    async def join(
        self, node: str, csr: str, *, token: str | None = None, certificate: str | None = None
    ) -> schema.NodeCertificate:
        """Get a node's certificate.

        Args:
            csr: A certificate request in PEM; only its key counts.
            token: A join token, which is used up.
            certificate: In place of a token: the certificate until now, of the key in `csr`.
        """
        body = {"node": node, "csr": csr, "token": token, "certificate": certificate}
        return await self._read(schema.NodeCertificate, Call(ops.JOIN, body=body))

    async def who_am_i(self) -> schema.Sender:
        """Read who asks, and with which role."""
        return await self._read(schema.Sender, Call(ops.WHO_AM_I))

    async def audit(self, *, limit: int = 100, before: int | None = None) -> schema.Audit:
        """Read who changed what: the newest entries, or the newest with a number below `before`."""
        call = Call(ops.READ_AUDIT, query={"limit": limit, "before": before})
        return await self._read(schema.Audit, call)

    async def each_audit_entry(self, page: int = PAGE) -> AsyncIterator[schema.AuditEntry]:
        """Read all entries that the control plane has, the newest first."""
        before: int | None = None
        while True:
            found = await self.audit(limit=page, before=before)
            for entry in found.entries:
                yield entry
            if (before := found.next) is None:
                return

    async def metrics(self) -> str:
        """Read the control plane's own metrics, in Prometheus' text format."""
        return str(await self._body(Call(ops.READ_METRICS)))

    async def is_live(self) -> bool:
        """Ask whether the process answers."""
        return (await self._read(schema.Live, Call(ops.IS_LIVE))).live

    async def is_ready(self) -> bool:
        """Ask whether Envoys are served."""
        received = await self._connection.send(Call(ops.IS_READY), expected=(503,))
        return read(schema.Ready, received.body).ready

    async def openapi(self) -> dict[str, Any]:
        """Read the OpenAPI document of the control plane."""
        document = await self._body(Call(ops.OPENAPI))
        if not isinstance(document, dict):
            raise UnexpectedAnswerError("the server is not a Plimsoll control plane")
        return document

    async def _pages(self, model: type[ListT], call: Call) -> AsyncIterator[ListT]:
        while True:
            found = await self._read(model, call)
            yield found
            if found.next is None:
                return
            call = call.asking(after=found.next)

    async def _pool(self, call: Call) -> Pool:
        return read(Pool, (await self._connection.send(call)).tagged)

    async def _replica(self, call: Call) -> Replica:
        return read(Replica, (await self._connection.send(call)).tagged)

    async def _put(self, call: Call) -> Put:
        return await self._read(Put, call)

    async def _nothing(self, call: Call) -> None:
        await self._body(call)

    async def _read(self, model: type[AnswerT], call: Call) -> AnswerT:
        return read(model, await self._body(call))

    async def _body(self, call: Call) -> Any:
        return (await self._connection.send(call)).body


def _conditions(if_match: str | None, *, create: bool = False) -> dict[str, str | None]:
    return {IF_MATCH: if_match} | ({IF_NONE_MATCH: "*"} if create else {})


def _plain(settings: PoolSettings | ReplicaSettings | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON; what was not set is left to the control plane."""
    if isinstance(settings, Mapping):
        return dict(settings)
    return settings.model_dump(mode="json", exclude_unset=True)


def _patched(known: Pool | Replica, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings to put so that only the changes change.

    Defaults and settings of the config file are left out: once put, they would outlast the file.
    """
    inherited = {key for key, source in known.sources.items() if source in ("file", "default")}
    settings = known.settings.items()
    own = {key: value for key, value in settings if key not in inherited - _REQUIRED}
    return {**own, **changes}


async def _retried(put: Callable[[], Awaitable[T]]) -> T:
    """Put, and retry when somebody else was faster."""
    for _ in range(_TRIES - 1):
        try:
            return await put()
        except PreconditionFailedError:
            continue
    return await put()
