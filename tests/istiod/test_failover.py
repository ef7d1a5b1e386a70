"""What Istio's locality failover makes of zones, beside which zones are compared."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.simulation.zones import ZONES
from tests.envoy.pools import pool
from tests.istio.test_serve import plimsoll
from tests.istiod.mesh import CLUSTER, HOST, bootstrap, istiod
from tests.processes import free_port, started_envoy, until

pytestmark = pytest.mark.timeout(600)


def of_user(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {
            "name": "zones",
            "namespace": "default",
            "creationTimestamp": "2024-01-01T00:00:00Z",
        },
        "spec": spec,
    }


async def test_istiod_gives_zones_priorities_by_distance(tmp_path: Path) -> None:
    entry = {
        "hosts": [HOST],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": [
            {
                "address": f"127.0.0.{zone + 2}",
                "ports": {"http": free_port()},
                "locality": f"{place.region}/{place.zone}",
            }
            for zone, place in enumerate(ZONES)
        ],
    }
    rule = {
        "host": HOST,
        "trafficPolicy": {
            "loadBalancer": {"simple": "LEAST_REQUEST", "localityLbSetting": {"enabled": True}},
            "outlierDetection": {"consecutive5xxErrors": 5},
        },
    }
    users, port, admin, listener = tmp_path / "users", free_port(), free_port(), free_port()
    users.mkdir()
    texts = [of_user("ServiceEntry", entry), of_user("DestinationRule", rule)]
    (users / "zones.yaml").write_text(yaml.safe_dump_all(texts))
    async with AsyncExitStack() as stack:
        declared = pool("other", {"a": {"address": f"127.0.0.1:{free_port()}"}})
        await stack.enter_async_context(plimsoll(tmp_path, declared, port))
        mesh = await stack.enter_async_context(istiod(tmp_path, port))
        data = bootstrap(mesh.grpc, admin, listener)
        data["node"]["locality"] = {"region": ZONES[0].region, "zone": ZONES[0].zone}
        started = started_envoy(tmp_path, "sidecar", data, {"p": listener})
        envoy = await stack.enter_async_context(started)

        async def priorities() -> dict[str, int]:
            found = (await envoy.admin("/clusters?format=json"))["cluster_statuses"]
            return {
                host["address"]["socket_address"]["address"]: host.get("priority", 0)
                for cluster in found
                if cluster["name"] == CLUSTER
                for host in cluster.get("host_statuses", [])
            }

        async def are_by_distance() -> bool:
            return await priorities() == {"127.0.0.2": 0, "127.0.0.3": 1, "127.0.0.4": 2}

        await until("priorities are by distance", are_by_distance)
