"""A real gRPC client and server on loopback, for tests of the xDS edge."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.google.protobuf as protobuf
import envoy_data_plane.google.rpc as rpc
import grpc

from controlplane.edges.latest import Latest
from controlplane.edges.xds_server import Catalog, Offer, XdsServer
from controlplane.edges.xds_server.services import AGGREGATED, Service
from controlplane.resources.resource import CLUSTER
from controlplane.resources.snapshot import Revision, Snapshot
from controlplane.resources.views import View
from controlplane.settings import Address
from controlplane.xds.events import Event
from tests.xds.client import Got


@dataclass(frozen=True)
class FixedCatalog:
    """Has one snapshot for every view, except for views that are listed."""

    snapshot: Snapshot
    views: Mapping[View, Snapshot] = field(default_factory=dict)

    @property
    def revision(self) -> Revision:
        return self.snapshot.revision

    def view(self, view: View) -> Snapshot:
        return self.views.get(view, self.snapshot)

    def changed_since(self, revision: Revision | None) -> None:
        return None


@dataclass
class Plane:
    """A running server, the slot that it serves from, and what it reported."""

    server: XdsServer
    offered: Latest[Offer | None]
    address: Address
    events: list[tuple[str, Event]]

    def show(self, catalog: Catalog | Snapshot) -> None:
        shown = FixedCatalog(catalog) if isinstance(catalog, Snapshot) else catalog
        self.offered.set(Offer(shown, time.monotonic()))


@asynccontextmanager
async def serving(
    catalog: Catalog | None,
    *,
    write_timeout: float = 20.0,
    catching_up: int = 32,
    patience: float = 60.0,
) -> AsyncIterator[Plane]:
    """Serve a catalog on a free port."""
    slot: Latest[Offer | None] = Latest(Offer(catalog, 0.0) if catalog else None)
    events: list[tuple[str, Event]] = []
    server = XdsServer(
        Address("127.0.0.1", 0),
        slot,
        lambda node, event: events.append((node, event)),
        write_timeout=write_timeout,
        catching_up=catching_up,
        catching_up_seconds=patience,
    )
    address = await server.start()
    try:
        yield Plane(server, slot, address, events)
    finally:
        await server.stop(grace=0)


class Envoy:
    """One delta stream of a client that says what a test makes it say."""

    def __init__(self, channel: grpc.aio.Channel, node: str, service: Service = AGGREGATED) -> None:
        self._node = core_v3.Node(id=node, cluster="apps", user_agent_name="envoy")
        self._named = False
        self.call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            f"/{service.name}/Delta{service.noun}"
        )()

    async def request(self, type_url: str = CLUSTER, **more: Any) -> None:
        """Send a request; keywords are fields of `DeltaDiscoveryRequest`."""
        node, self._named = None if self._named else self._node, True
        await self.call.write(
            bytes(discovery_v3.DeltaDiscoveryRequest(node=node, type_url=type_url, **more))
        )

    def metadata(self, metadata: dict[str, Any]) -> None:
        """Add metadata to the node, before the first request."""
        self._node.metadata = protobuf.Struct.from_dict(metadata)

    async def got(self) -> Got:
        """The next response, not acknowledged."""
        data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.details()}"
        return Got.of(data)

    async def accept(self) -> Got:
        """The next response, acknowledged."""
        got = await self.got()
        await self.request(got.type_url, response_nonce=got.nonce)
        return got

    async def reject(self, message: str) -> Got:
        """The next response, rejected."""
        got = await self.got()
        error = rpc.Status(code=13, message=message)
        await self.request(got.type_url, response_nonce=got.nonce, error_detail=error)
        return got


@asynccontextmanager
async def envoy(
    address: Address, node: str = "sidecar-1", service: Service = AGGREGATED
) -> AsyncIterator[Envoy]:
    """Connect a client; leaving breaks its connection off."""
    async with grpc.aio.insecure_channel(str(address)) as channel:
        yield Envoy(channel, node, service)


async def until(holds: Callable[[], bool]) -> None:
    """Let the server get on with it until something holds; the test's own timeout is the limit."""
    while not holds():
        await asyncio.sleep(0.001)
