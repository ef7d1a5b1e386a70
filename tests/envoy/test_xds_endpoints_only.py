"""A real Envoy whose clusters are its own, and that asks for their endpoints alone."""

from pathlib import Path
from typing import Any

import pytest

from controlplane.resources.bootstrap import Protocol, bootstrap
from tests.envoy.pools import PROTOCOLS, pool_of, put, running, serves
from tests.processes import free_port, serving, until
from tests.replica import replica


def endpoints_only(data: dict[str, Any], port: int) -> dict[str, Any]:
    """A bootstrap without ADS: a listener and a cluster of its own, endpoints from their service.

    Args:
        data: As Plimsoll prints it.
        port: Of the listener.
    """
    ads = data.pop("dynamic_resources")["ads_config"]
    del ads["set_node_on_first_message_only"]
    cluster = {
        "name": "p",
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {"api_config_source": ads, "resource_api_version": "V3"}
        },
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    manager = {
        "@type": f"type.googleapis.com/{hcm}",
        "stat_prefix": "p",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "p",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "p"}}],
                }
            ]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    name = "envoy.filters.network.http_connection_manager"
    listener = {
        "name": "p",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }
    data["static_resources"]["clusters"].append(cluster)
    data["static_resources"]["listeners"] = [listener]
    return data


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_envoy_with_clusters_of_its_own_gets_their_endpoints(
    tmp_path: Path, protocol: Protocol
) -> None:
    port = free_port()
    async with replica() as a, replica() as b, serving(tmp_path, [pool_of("p", a)]) as plane:
        data = bootstrap("n", plane.xds, admin_port=free_port(), protocol=protocol)
        data = endpoints_only(data, port)
        async with running(tmp_path, data, port, "p") as envoy:
            await until("Envoy serves the pool", lambda: serves(envoy, "p"))
            await put(plane, pool_of("p", a, b))

            async def has_both() -> bool:
                return set(await envoy.hosts("p")) == {"r0", "r1"}

            await until("Envoy has the new replica", has_both)

            # It has the hosts a moment before its answer is here, and weights go on changing while
            # the new one starts slowly.
            async def is_in_sync() -> bool:
                (node,) = (await plane.get("/v1/nodes"))["nodes"]
                (only,) = node["types"]
                assert only["type_url"].endswith("ClusterLoadAssignment")
                assert only["last_rejection"] is None
                return bool(only["in_sync"])

            await until("Envoy is in sync", is_in_sync)
