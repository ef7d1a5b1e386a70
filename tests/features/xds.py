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

from controlplane.config import Address
from controlplane.latest import Latest
from controlplane.resources.resource import CLUSTER, Revision, Snapshot
from controlplane.resources.views import View
from controlplane.xds import (
    AGGREGATED,
    Catalog,
    Event,
    HealthSink,
    LoadSink,
    Offer,
    PushObserver,
    SampleSink,
    SecretsOf,
    Service,
    XdsServer,
    XdsTls,
)
from controlplane.xds.scaler_service import ScalerSource
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
    first_request: float = 15.0,
    catching_up: int = 32,
    patience: float = 60.0,
    pushes: PushObserver | None = None,
    max_streams: int = 100,
    loads: LoadSink | None = None,
    samples: SampleSink | None = None,
    health: HealthSink | None = None,
    scaling: ScalerSource | None = None,
    tls: XdsTls | None = None,
    secrets: SecretsOf | None = None,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
) -> AsyncIterator[Plane]:
    """Serve a catalog on a free port."""
    slot: Latest[Offer | None] = Latest(Offer(catalog, 0.0) if catalog else None)
    events: list[tuple[str, Event]] = []
    server = XdsServer(
        Address("127.0.0.1", 0),
        slot,
        lambda node, event: events.append((node, event)),
        write_timeout=write_timeout,
        first_request=first_request,
        catching_up=catching_up,
        catching_up_seconds=patience,
        pushes=(pushes,) if pushes else (),
        max_streams=max_streams,
        loads=loads,
        samples=samples,
        health=health,
        scaling=scaling,
        tls=tls,
        secrets=secrets,
        clock=clock,
        wall_clock=wall_clock,
    )
    address = await server.start()
    try:
        yield Plane(server, slot, address, events)
    finally:
        await server.stop(grace=0)


class Envoy:
    """One delta stream of a client that says what a test makes it say."""

    method = "Delta"

    def __init__(self, channel: grpc.aio.Channel, node: str, service: Service = AGGREGATED) -> None:
        self._node = core_v3.Node(id=node, cluster="apps", user_agent_name="envoy")
        self._named = False
        self.call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            f"/{service.name}/{self.method}{service.noun}"
        )()

    async def request(self, type_url: str = CLUSTER, **more: Any) -> None:
        """Send a request; keywords are fields of the protocol's own message."""
        node, self._named = None if self._named else self._node, True
        await self.call.write(self.encoded(node, type_url, more))

    def encoded(self, node: core_v3.Node | None, type_url: str, more: dict[str, Any]) -> bytes:
        return bytes(discovery_v3.DeltaDiscoveryRequest(node=node, type_url=type_url, **more))

    def metadata(self, metadata: dict[str, Any]) -> None:
        """Add metadata to the node, before the first request."""
        self._node.metadata = protobuf.Struct.from_dict(metadata)

    def agent(self, name: str) -> None:
        """Call the program of the node so, before the first request."""
        self._node.user_agent_name = name

    async def want(self, type_url: str, *names: str) -> None:
        """Ask for these as well; for everything if the first request has none."""
        await self.request(type_url, resource_names_subscribe=[*names])

    async def drop(self, type_url: str, *names: str) -> None:
        """Want these no more."""
        await self.request(type_url, resource_names_unsubscribe=[*names])

    async def answer(self, got: Got, **more: Any) -> None:
        """Acknowledge a response, or reject it with an ``error_detail``."""
        await self.request(got.type_url, response_nonce=got.nonce, **more)

    def read(self, data: bytes) -> Got:
        return Got.of(data)

    async def got(self) -> Got:
        """The next response, not acknowledged."""
        data = await self.call.read()
        assert isinstance(data, bytes), f"the stream ended: {await self.call.details()}"
        return self.read(data)

    async def accept(self) -> Got:
        """The next response, acknowledged."""
        got = await self.got()
        await self.answer(got)
        return got

    async def reject(self, message: str) -> Got:
        """The next response, rejected."""
        got = await self.got()
        await self.answer(got, error_detail=rpc.Status(code=13, message=message))
        return got


class SotwEnvoy(Envoy):
    """One stream of the state of the world, of a client that repeats its names."""

    method = "Stream"

    def __init__(self, channel: grpc.aio.Channel, node: str, service: Service = AGGREGATED) -> None:
        super().__init__(channel, node, service)
        self._only = service.type_url or ""
        self.names: dict[str, list[str]] = {}
        self.last: dict[str, Got] = {}

    def encoded(self, node: core_v3.Node | None, type_url: str, more: dict[str, Any]) -> bytes:
        return bytes(discovery_v3.DiscoveryRequest(node=node, type_url=type_url, **more))

    async def want(self, type_url: str, *names: str) -> None:
        known = self.names.setdefault(type_url or self._only, [])
        known += names
        await self.repeat(type_url)

    async def drop(self, type_url: str, *names: str) -> None:
        self.names[type_url] = [item for item in self.names[type_url] if item not in names]
        await self.repeat(type_url)

    async def repeat(self, type_url: str, **more: Any) -> None:
        """Say again what was accepted last and what is wanted."""
        url = type_url or self._only
        if last := self.last.get(url):
            more = {"version_info": last.version, "response_nonce": last.nonce, **more}
        await self.request(type_url, resource_names=self.names.get(url, []), **more)

    async def answer(self, got: Got, **more: Any) -> None:
        if "error_detail" in more:
            more["version_info"] = ""
        self.last[got.type_url] = got
        await self.repeat(got.type_url, **more)

    def read(self, data: bytes) -> Got:
        return Got.of_sotw(data)


@asynccontextmanager
async def envoy(
    address: Address,
    node: str = "sidecar-1",
    service: Service = AGGREGATED,
    protocol: type[Envoy] = Envoy,
) -> AsyncIterator[Envoy]:
    """Connect a client; leaving breaks its connection off."""
    async with grpc.aio.insecure_channel(str(address)) as channel:
        yield protocol(channel, node, service)


async def until(holds: Callable[[], bool]) -> None:
    """Let the server get on with it until something holds; the test's own timeout is the limit."""
    while not holds():
        await asyncio.sleep(0.001)
