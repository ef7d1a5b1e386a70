"""A real istiod that has its configuration from Plimsoll, and real Envoys that have theirs from it.

A few lines stand for the API of a Kubernetes in which there is nothing; what users would put there
is in a folder of files.
"""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

from tests.processes import Envoy, free_port, process, started_envoy, until

ISTIOD: Final = os.environ.get("PLIMSOLL_ISTIOD", "")
"""The program ``pilot-discovery``; ``make test-istio`` builds it."""

HOST: Final = "p.plimsoll.internal"
CLUSTER: Final = f"outbound|80||{HOST}"


class Mesh:
    """An istiod that runs.

    Attributes:
        grpc: Its port for Envoys.
        pid: Of its process.
    """

    def __init__(self, grpc: int, pid: int) -> None:
        self.grpc, self.pid = grpc, pid

    def cpu(self) -> float:
        """Seconds of CPU that it has taken."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _kubernetes(request: web.Request) -> web.StreamResponse:
    """Answer as the API server of a cluster that is empty, and stays so."""
    parts = request.path.strip("/").split("/")
    if request.method != "GET":
        content = request.headers.get("content-type", "application/json")
        return web.Response(
            body=await request.read(), status=201, headers={"content-type": content}
        )
    if "sendInitialEvents" in request.query:
        # Clients then list first, and watch after that.
        return web.json_response({"kind": "Status", "reason": "Invalid", "code": 422}, status=422)
    if "watch" in request.query:
        answer = web.StreamResponse(headers={"content-type": "application/json"})
        await answer.prepare(request)
        await asyncio.Event().wait()
    if parts == ["version"]:
        return web.json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
    if parts == ["api"]:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
    if parts == ["apis"]:
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
    # The last is a name where there is something before it that has none.
    depth = len(parts) - (2 if parts[0] == "api" else 3)
    if depth == 0:
        return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", "resources": []})
    if depth in (2, 4):
        return web.json_response({"kind": "Status", "reason": "NotFound", "code": 404}, status=404)
    found: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "items": []}
    if "PartialObjectMetadataList" in request.headers.get("accept", ""):
        found |= {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    return web.json_response(found)


@asynccontextmanager
async def kubernetes(folder: Path) -> AsyncIterator[Path]:
    """Run the stand-in for Kubernetes; yields the file with which clients find it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _kubernetes)
    runner, port = web.AppRunner(app, shutdown_timeout=0.1), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    path = folder / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )
    )
    try:
        yield path
    finally:
        await runner.cleanup()


@asynccontextmanager
async def istiod(
    folder: Path, plimsoll: int, grpc: int | None = None, debounce: str = "10ms"
) -> AsyncIterator[Mesh]:
    """Run an istiod until the context closes.

    Args:
        folder: For files; those that users put there are in ``users``.
        plimsoll: The port on which Plimsoll serves it.
        grpc: Its port for Envoys.
        debounce: How long it waits for further changes after one.
    """
    users, grpc, status = folder / "users", grpc or free_port(), free_port()
    users.mkdir(exist_ok=True)
    mesh = folder / "mesh.yaml"
    config = {
        "configSources": [
            {"address": f"xds://127.0.0.1:{plimsoll}"},
            {"address": f"fs://{users}"},
        ],
        # The Envoys here have no certificates.
        "enableAutoMtls": False,
        "accessLogFile": "",
    }
    mesh.write_text(yaml.safe_dump(config))
    arguments = {
        "meshConfig": str(mesh),
        "registries": "Kubernetes",
        "grpcAddr": f"127.0.0.1:{grpc}",
        "secureGRPCAddr": "",
        "httpAddr": f"127.0.0.1:{status}",
        "httpsAddr": "",
        "monitoringAddr": "",
        "ctrlz_port": "0",
        "namespace": "istio-system",
        "shutdownDuration": "0s",
    }
    env = {
        # The Envoys here are plain ones, without Istio's extensions.
        "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        "PILOT_DEBOUNCE_AFTER": debounce,
        "ENABLE_CA_SERVER": "false",
        "PILOT_CERT_PROVIDER": "none",
        "POD_NAME": "istiod-1",
        "POD_NAMESPACE": "istio-system",
    }
    options = [f"--{key}={value}" for key, value in arguments.items()]
    log = folder / "istiod.log"
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        kubernetes(folder) as kubeconfig,
        process(
            ISTIOD, "discovery", f"--kubeconfig={kubeconfig}", *options, log=log, env=env
        ) as started,
    ):

        async def is_ready() -> bool:
            assert started.returncode is None, log.read_text()[-4000:]
            try:
                async with session.get(f"http://127.0.0.1:{status}/ready") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until("istiod is ready", is_ready)
        yield Mesh(grpc, started.pid)


def bootstrap(grpc: int, admin: int, listener: int, namespace: str = "default") -> dict[str, Any]:
    """Of an Envoy that has its clusters from istiod, and one listener of its own to the pool."""
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = (
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager"
        ".v3.HttpConnectionManager"
    )
    options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    host = {
        "name": "p",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": CLUSTER, "timeout": "60s"}}],
    }
    return {
        "node": {
            "id": f"sidecar~127.0.0.1~app-1.{namespace}~{namespace}.svc.cluster.local",
            "cluster": f"app.{namespace}",
            "metadata": {
                "NAMESPACE": namespace,
                "ISTIO_VERSION": "1.31.0",
                "CLUSTER_ID": "Kubernetes",
                "LABELS": {"app": "app"},
            },
        },
        "admin": {"address": _at(admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds-grpc",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "xds-grpc",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _at(grpc)}}]}],
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": options,
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                }
            ],
            "listeners": [
                {
                    "name": "p",
                    "address": _at(listener),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "http",
                                    "typed_config": {
                                        "@type": manager,
                                        "stat_prefix": "p",
                                        "route_config": {
                                            "validate_clusters": False,
                                            "virtual_hosts": [host],
                                        },
                                        "http_filters": [
                                            {"name": "router", "typed_config": {"@type": router}}
                                        ],
                                    },
                                }
                            ]
                        }
                    ],
                }
            ],
        },
    }


def _at(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@asynccontextmanager
async def sidecar(
    folder: Path, mesh: Mesh, node: str = "sidecar", namespace: str = "default"
) -> AsyncIterator[Envoy]:
    """Run an Envoy of the mesh; its listener for the pool is called ``p``."""
    admin, listener = free_port(), free_port()
    data = bootstrap(mesh.grpc, admin, listener, namespace)
    async with started_envoy(folder, node, data, {"p": listener}) as envoy:
        yield envoy


async def hosts(envoy: Envoy) -> dict[str, Any]:
    """What an Envoy knows of each replica of the pool, by its address."""
    known = await envoy.admin("/clusters?format=json")
    return {
        f"{at['address']}:{at['port_value']}": host
        for cluster in (known or {}).get("cluster_statuses", [])
        if cluster["name"] == CLUSTER
        for host in cluster.get("host_statuses", [])
        for at in [host["address"]["socket_address"]]
    }


async def count(envoy: Envoy) -> int:
    """How many replicas of the pool an Envoy has."""
    found = await envoy.stats("membership_total")
    return sum(item for name, item in found.items() if HOST in name)


async def cluster(envoy: Envoy) -> Mapping[str, Any]:
    """The pool's cluster that an Envoy has."""
    dump = await envoy.admin("/config_dump?resource=dynamic_active_clusters")
    found = [config["cluster"] for config in (dump or {}).get("configs", ())]
    return next((item for item in found if item["name"] == CLUSTER), {})


def entry_of_user(folder: Path, namespace: str, address: str) -> None:
    """Have a user declare the pool's host with a replica of the user's own."""
    host, port = address.split(":")
    data = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {
            "name": "mine",
            "namespace": namespace,
            "creationTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": {
            "hosts": [HOST],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "endpoints": [{"address": host, "ports": {"http": int(port)}}],
        },
    }
    users = folder / "users"
    users.mkdir(exist_ok=True)
    (users / "mine.yaml").write_text(yaml.safe_dump(data))


@asynccontextmanager
async def thousand() -> AsyncIterator[list[str]]:
    """A thousand replicas that answer everything at once; yields their addresses."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lengths = re.findall(rb"content-length: *(\d+)", head.lower())
                await reader.readexactly(int(lengths[0]) if lengths else 0)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    port = free_port()
    addresses = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(1_000)]
    async with contextlib.AsyncExitStack() as stack:
        for address in addresses:
            await stack.enter_async_context(await asyncio.start_server(answer, address, port))
        yield [f"{address}:{port}" for address in addresses]


async def soon(what: str, holds: Any) -> float:
    """Ask every few milliseconds until something holds; returns the seconds that it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not await holds():
        assert loop.time() - begun < 60, f"never: {what}"
        await asyncio.sleep(0.002)
    return loop.time() - begun


def report(*words: str) -> None:
    """Say what was measured; ``make test-istio`` shows it."""
    sys.stderr.write(" ".join(("\n  measured:", *words)) + "\n")
