"""docker-compose.yaml: it is valid, its containers can do little, and its parts fit together."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from controlplane.settings import Config, load_config
from embedding_replica import options
from tests.examples.compose import ROOT, addresses, compose, services

CONFIG = ROOT / "examples" / "compose" / "plimsoll.yaml"
SERVICES = sorted(services())
REPLICAS = [name for name in SERVICES if name.startswith("replica-")]
SIDECARS = [name for name in SERVICES if name.startswith("sidecar-")]
APPLICATIONS = [name for name in SERVICES if name.startswith("application-")]


def config() -> Config:
    return load_config(CONFIG.read_text(), str(CONFIG))


def healthy(service: dict[str, Any]) -> set[str]:
    """The services that must be healthy before this one is started."""
    waits = service.get("depends_on", {})
    return {name for name, on in waits.items() if on == {"condition": "service_healthy"}}


def docker_compose() -> list[str]:
    """Compose as a program of its own or as docker's plugin; either reads the same file."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if shutil.which("docker"):
        plugin = ["docker", "compose"]
        if subprocess.run([*plugin, "version"], capture_output=True).returncode == 0:
            return plugin
    pytest.skip("there is neither docker-compose nor docker compose here to ask")


def test_compose_itself_takes_the_file() -> None:
    argv = [*docker_compose(), "--file", str(ROOT / "docker-compose.yaml"), "config", "--quiet"]
    ran = subprocess.run(argv, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_there_are_a_control_plane_four_replicas_and_two_applications_with_sidecars() -> None:
    assert (len(REPLICAS), len(SIDECARS), len(APPLICATIONS)) == (4, 2, 2)
    assert {*SERVICES} == {"control-plane", *REPLICAS, *SIDECARS, *APPLICATIONS}


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_runs_as_root(name: str) -> None:
    user, group = services()[name]["user"].split(":")
    assert int(user) > 0
    assert int(group) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_can_write_to_its_image_or_gain_privileges(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_in_memory_processes_and_log(name: str) -> None:
    assert {"mem_limit", "pids_limit"} <= services()[name].keys()
    assert {"max-size", "max-file"} <= services()[name]["logging"]["options"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_healthcheck_with_its_own_deadline(name: str) -> None:
    check = services()[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_published_to_the_host_or_mounted_for_writing(name: str) -> None:
    service = services()[name]
    assert not {"ports", "privileged", "pid", "ipc", "devices"} & service.keys()
    for volume in service.get("volumes", []):
        assert volume.endswith(":ro") or volume.split(":")[0] in compose()["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_exists(name: str) -> None:
    for volume in services()[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source in compose()["volumes"] or (ROOT / source).exists()


@pytest.mark.parametrize("name", SIDECARS)
def test_a_sidecar_waits_for_the_control_plane_to_be_healthy(name: str) -> None:
    assert healthy(services()[name]) == {"control-plane"}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_waits_for_its_sidecar_and_shares_its_network(name: str) -> None:
    sidecar = name.replace("application", "sidecar")
    service = services()[name]
    assert healthy(service) == {sidecar}
    assert service["network_mode"] == f"service:{sidecar}"


def test_the_addresses_are_distinct_and_on_a_network_that_reaches_nothing_else() -> None:
    mesh = compose()["networks"]["mesh"]
    subnet = ip_network(mesh["ipam"]["config"][0]["subnet"])
    assert mesh["internal"] is True
    assert addresses().keys() == {"control-plane", *REPLICAS, *SIDECARS}
    assert len({*addresses().values()}) == len(addresses())
    # Docker itself takes the subnet's first address.
    assert all(ip_address(ip) in subnet and ip != str(subnet[1]) for ip in addresses().values())


def test_the_config_names_each_replica_at_its_address() -> None:
    declared = {
        f"replica-{replica.id}": str(replica.address) for replica in config().pools[0].replicas
    }
    started = {}
    for name in REPLICAS:
        asked = options.parse(services()[name]["command"])
        started[name] = f"{addresses()[name]}:{asked.port}"
    assert declared == started


def test_the_replicas_differ_in_speed_and_can_be_reached() -> None:
    asked = [options.parse(services()[name]["command"]) for name in REPLICAS]
    assert len({replica.speed for replica in asked}) == len(asked)
    assert {replica.host for replica in asked} == {"0.0.0.0"}


def test_a_replica_gets_longer_to_stop_than_it_gives_requests_in_flight() -> None:
    for name in REPLICAS:
        grace = options.parse(services()[name]["command"]).grace
        assert float(services()[name]["stop_grace_period"].removesuffix("s")) > grace


def test_the_rest_api_stays_on_loopback_and_xds_is_where_the_sidecars_ask() -> None:
    assert config().admin.address.is_loopback
    assert str(config().xds.address) == "0.0.0.0:18000"
    for name in SIDECARS:
        bootstrap = yaml.safe_load((ROOT / "envoy" / f"{name}.yaml").read_text())
        endpoint = bootstrap["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]
        asked = endpoint["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert asked == {"address": addresses()["control-plane"], "port_value": 18000}


def test_the_sidecars_open_a_port_for_their_application_alone() -> None:
    assert str(config().pools[0].listener.address) == "127.0.0.1:10000"


def test_registrations_are_stored_on_the_volume_and_the_config_is_where_it_is_read() -> None:
    control_plane = services()["control-plane"]
    mounted = dict(volume.split(":")[:2] for volume in control_plane["volumes"])
    assert config().store.path.startswith(mounted["store"] + "/")
    assert control_plane["command"] == [
        "serve",
        "--config",
        f"{mounted['./examples/compose']}/{CONFIG.name}",
    ]
