"""In the place of a SPIRE agent: secrets over its socket, in the one protocol that it has."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.google.protobuf as protobuf
import grpc

from controlplane.resources.resource import SECRET


class SpireAgent:
    """Answers the Secret Discovery Service; every workload may have every identity.

    Attributes:
        asked: The names that were asked for.
    """

    def __init__(self, identities: Mapping[str, tuple[bytes, bytes]], roots: bytes) -> None:
        """Take what it gives.

        Args:
            identities: Certificate chain and key in PEM, by SPIFFE id.
            roots: In PEM.
        """
        self.asked: set[str] = set()
        trusted = tls_v3.CertificateValidationContext(
            trusted_ca=core_v3.DataSource(inline_bytes=roots)
        )
        self._secrets = {"ROOTCA": tls_v3.Secret(name="ROOTCA", validation_context=trusted)}
        for name, (chain, key) in identities.items():
            certificate = tls_v3.TlsCertificate(
                certificate_chain=core_v3.DataSource(inline_bytes=chain),
                private_key=core_v3.DataSource(inline_bytes=key),
            )
            self._secrets[name] = tls_v3.Secret(name=name, tls_certificate=certificate)

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
