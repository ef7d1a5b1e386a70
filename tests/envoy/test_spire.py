"""An Envoy that has its certificates from a SPIRE agent; the agent here only speaks as one does."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.google.protobuf as protobuf
import grpc

from controlplane.ca.certificates import control_plane_uri, key_pem, new_key, node_uri
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.resource import SECRET
from controlplane.resources.secret_sources import SPIRE, SpireTls
from tests.envoy.test_certificates import DOMAIN, NODE, World
from tests.processes import free_port, started_envoy, until


class Agent:
    """Answers the Secret Discovery Service on a socket, in the one protocol that SPIRE has.

    Attributes:
        asked: The names that were asked for.
    """

    def __init__(self, world: World) -> None:
        content, key = world.ca.load(time.time()), new_key()
        own = node_uri(DOMAIN, NODE)
        leaf = content.authority.issue(key.public_key(), [own], now=time.time(), seconds=3600)
        certificate = tls_v3.TlsCertificate(
            certificate_chain=core_v3.DataSource(inline_bytes=leaf.chain),
            private_key=core_v3.DataSource(inline_bytes=key_pem(key)),
        )
        roots = tls_v3.CertificateValidationContext(
            trusted_ca=core_v3.DataSource(inline_bytes=content.roots)
        )
        self.asked: set[str] = set()
        self._secrets = {
            own: tls_v3.Secret(name=own, tls_certificate=certificate),
            "ROOTCA": tls_v3.Secret(name="ROOTCA", validation_context=roots),
        }

    @asynccontextmanager
    async def serving(self, socket: Path) -> AsyncIterator[None]:
        """Run it."""
        server = grpc.aio.server()
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "StreamSecrets": grpc.stream_stream_rpc_method_handler(self._stream)
        }
        name = "envoy.service.secret.v3.SecretDiscoveryService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def _stream(self, requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for data in requests:
            request = discovery_v3.DiscoveryRequest.parse(data)
            self.asked |= {*request.resource_names}
            if not request.response_nonce:
                found = [self._secrets[name] for name in request.resource_names]
                packed = [protobuf.Any(type_url=SECRET, value=bytes(item)) for item in found]
                yield bytes(
                    discovery_v3.DiscoveryResponse(
                        version_info="1", resources=packed, type_url=SECRET, nonce="1"
                    )
                )


async def test_an_envoy_shows_the_control_plane_what_its_agent_gave_it(tmp_path: Path) -> None:
    world, socket = World(tmp_path), tmp_path / "agent.sock"
    agent = Agent(world)
    async with agent.serving(socket), world.serving("1h") as plane:
        data = bootstrap(
            NODE,
            plane.xds,
            pools=["p"],
            admin_port=free_port(),
            tls=SpireTls(control_plane_uri(DOMAIN), node_uri(DOMAIN, NODE)),
            secrets=SPIRE,
            spire=str(socket),
        )
        assert data["node"]["metadata"]["plimsoll"]["identity"] == {"source": "spire"}
        async with started_envoy(tmp_path, NODE, data, {}):

            async def is_known() -> bool:
                nodes = (await plane.get("/v1/nodes"))["nodes"]
                return [node["id"] for node in nodes] == [NODE]

            await until("the control plane knows the node", is_known)
        assert agent.asked == {node_uri(DOMAIN, NODE), "ROOTCA"}
