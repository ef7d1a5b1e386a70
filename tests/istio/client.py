"""A client that speaks to the control plane as istiod does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import grpc

from controlplane.config import Address
from controlplane.protos import envoy_pb2 as envoy
from controlplane.protos import istio_pb2 as pb
from controlplane.xds import AGGREGATED
from tests.istio.decoded import read

ENTRY = "networking.istio.io/v1/ServiceEntry"
RULE = "networking.istio.io/v1/DestinationRule"
OTHER = "networking.istio.io/v1/VirtualService"
TYPES = (OTHER, ENTRY, RULE)
NODE = "sidecar~10.0.0.1~istiod.istio-system~istio-system.svc.cluster.local"


class Istiod:
    """One stream; it accepts everything.

    Attributes:
        held: The encoded bodies of what it holds, by type and name.
        fewest: Replicas that it has held of pool ``p`` at a time, once it was told of any.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.held: dict[str, dict[str, bytes]] = {}
        self.fewest: int | None = None
        method = f"/{AGGREGATED.name}/Stream{AGGREGATED.noun}"
        self.call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(method)(
            wait_for_ready=True
        )

    async def ask(self, type_url: str, nonce: str = "2026-08-27 12:45:20 m=+0.35") -> None:
        said = envoy.DiscoveryRequest(type_url=type_url, response_nonce=nonce)
        said.node.id = NODE
        await self.call.write(said.SerializeToString())

    async def follow(self) -> None:
        """Take and accept what comes until the stream ends."""
        while isinstance(data := await self.call.read(), bytes):
            got = envoy.DiscoveryResponse.FromString(data)
            kind = got.type_url.rpartition("/")[2]
            found = [read(resource, kind) for resource in got.resources]
            self.held[got.type_url] = {item.name: item.body for item in found}
            if got.type_url == ENTRY:
                count = len(self.endpoints())
                self.fewest = count if self.fewest is None else min(self.fewest, count)
            await self.ask(got.type_url, got.nonce)

    async def until(self, holds: Callable[[], object], deadline: float = 60.0) -> None:
        """Wait until something holds of what it holds."""
        try:
            async with asyncio.timeout(deadline):
                while not holds():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never; it holds {self.held}") from None

    def endpoints(self, name: str = "plimsoll/p") -> dict[str, pb.WorkloadEntry]:
        """The replicas of a pool by address and port; none where it does not know the pool."""
        if name not in (entries := self.held.get(ENTRY, {})):
            return {}
        listed = pb.ServiceEntry.FromString(entries[name]).endpoints
        found = [pb.WorkloadEntry.FromString(item) for item in listed]
        return {f"{each.address}:{each.ports['requests']}": each for each in found}


@asynccontextmanager
async def istiod(
    address: Address, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Istiod]:
    """Connect, ask for every type, and follow; leaving breaks the connection off."""
    if credentials is None:
        channel = grpc.aio.insecure_channel(str(address))
    else:
        channel = grpc.aio.secure_channel(str(address), credentials)
    async with channel:
        client = Istiod(channel)
        for type_url in TYPES:
            await client.ask(type_url)
        following = asyncio.create_task(client.follow())
        try:
            yield client
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await following
