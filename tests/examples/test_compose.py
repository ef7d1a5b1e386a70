"""docker-compose.yaml: it is valid, its containers can do little, and its parts fit together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.config import Config, Role, Token, load_config, parse_tokens
from embedding_replica import options
from tests.examples.compose import ROOT, compose, services

CONFIG = ROOT / "examples" / "compose" / "plimsoll.yaml"
VARIANTS = ("servers", "zones", "mesh", "spire")
SERVICES = sorted(services())
REPLICAS = [name for name in SERVICES if name.startswith("replica-")]
SIDECARS = [name for name in SERVICES if name.startswith("sidecar-")]
PODS = [name for name in SERVICES if name.startswith("pod-")]
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


@pytest.mark.parametrize(
    "file", ["docker-compose.yaml", *(f"examples/{item}/compose.yaml" for item in VARIANTS)]
)
def test_compose_itself_takes_the_file(file: str) -> None:
    argv = [*docker_compose(), "--file", str(ROOT / file), "--profile", "*", "config", "--quiet"]
    ran = subprocess.run(argv, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_prometheus_and_grafana_go_with_it() -> None:
    more = ROOT / "examples" / "observability" / "compose.yaml"
    files = ["--file", str(ROOT / "docker-compose.yaml"), "--file", str(more)]
    ran = subprocess.run([*docker_compose(), *files, "config"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    merged = yaml.safe_load(ran.stdout)
    assert {*merged["services"]} == {*SERVICES, "prometheus", "grafana"}
    # Paths in it are taken from the folder of the first file.
    added = yaml.safe_load(more.read_text())["services"]
    mounts = [volume.split(":") for each in added.values() for volume in each["volumes"]]
    folders = {inside: ROOT / outside for outside, inside, _ in mounts if outside[0] == "."}
    assert len(folders) == 3
    assert all(folder.is_dir() for folder in folders.values())
    (config,) = (
        item for item in added["prometheus"]["command"] if item.startswith("--config.file=")
    )
    _, _, name = config.rpartition("/")
    asked = yaml.safe_load((folders["/etc/prometheus"] / name).read_text())
    (job,) = asked["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["control-plane:8080"]}]
    # Whoever may read the token is who made it.
    assert added["prometheus"]["user"] == services()["control-plane"]["user"]
    # Where the dashboards are looked for is where they are mounted.
    provisioned = folders["/etc/grafana/provisioning"] / "dashboards" / "plimsoll.yaml"
    (provider,) = yaml.safe_load(provisioned.read_text())["providers"]
    assert [*folders[provider["options"]["path"]].glob("*.json")]


def test_there_are_a_control_plane_four_replicas_and_two_applications_with_sidecars() -> None:
    assert (len(REPLICAS), len(SIDECARS), len(APPLICATIONS)) == (4, 2, 2)
    assert {*SERVICES} == {"control-plane", *REPLICAS, *PODS, *SIDECARS, *APPLICATIONS}


def test_each_image_is_built_by_one_service_and_named_by_the_others() -> None:
    built = [service["image"] for service in services().values() if "build" in service]
    assert sorted(built) == [
        f"plimsoll/{part}" for part in ("application", "control-plane", "replica")
    ]
    others = {service["image"] for service in services().values()} - {*built}
    assert {image.partition(":")[0] for image in others} == {"envoyproxy/envoy"}


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
def test_only_the_page_is_published_to_loopback_and_nothing_is_mounted_for_writing(
    name: str,
) -> None:
    service = services()[name]
    assert not {"privileged", "pid", "ipc", "devices"} & service.keys()
    page = ["127.0.0.1:8080:8080"] if name == "control-plane" else []
    assert service.get("ports", []) == page
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
def test_an_application_waits_for_its_sidecar_and_either_can_be_restarted(name: str) -> None:
    sidecar, pod = (name.replace("application", part) for part in ("sidecar", "pod"))
    assert healthy(services()[name]) == {sidecar}
    # A third container keeps their network: a restart of one leaves the other where it is.
    for each in (name, sidecar):
        assert services()[each]["network_mode"] == f"service:{pod}"
        assert services()[each]["restart"] == "unless-stopped"
    assert "network_mode" not in services()[pod]


def test_no_address_is_fixed_and_only_the_page_is_reached_from_elsewhere() -> None:
    assert compose()["networks"] == {"mesh": {"internal": True}, "page": {}}
    assert services()["control-plane"]["networks"] == ["mesh", "page"]
    for name in PODS:
        assert services()[name]["networks"] == ["mesh"]
    for name in REPLICAS:
        assert services()[name]["networks"].keys() == {"mesh"}


def test_dns_has_the_replicas_by_the_name_that_the_config_looks_up() -> None:
    (source,) = config().pools[0].discovery
    assert source.dns is not None
    assert source.dns.name is not None
    for name in REPLICAS:
        assert services()[name]["networks"]["mesh"] == {"aliases": [source.dns.name.rstrip(".")]}
        assert options.parse(services()[name]["command"]).port == source.dns.port


def test_the_replicas_differ_in_speed_and_can_be_reached() -> None:
    asked = [options.parse(services()[name]["command"]) for name in REPLICAS]
    assert len({replica.speed for replica in asked}) == len(asked)
    assert {replica.host for replica in asked} == {"0.0.0.0"}


def test_a_replica_gets_longer_to_stop_than_it_gives_requests_in_flight() -> None:
    for name in REPLICAS:
        grace = options.parse(services()[name]["command"]).grace
        assert float(services()[name]["stop_grace_period"].removesuffix("s")) > grace


def test_the_rest_api_wants_a_token_and_xds_is_where_the_sidecars_ask() -> None:
    assert config().admin.token_file == "/var/lib/plimsoll/tokens"  # noqa: S105 - its path
    assert str(config().xds.address) == "0.0.0.0:18000"
    for name in SIDECARS:
        bootstrap = yaml.safe_load((ROOT / "envoy" / f"{name}.yaml").read_text())
        endpoint = bootstrap["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]
        asked = endpoint["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert asked == {"address": "control-plane", "port_value": 18000}


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


def test_the_first_start_makes_a_token_that_the_file_lets_in(tmp_path: Path) -> None:
    *shell, script, name = services()["control-plane"]["entrypoint"]
    # In place of the command, which it does not run here.
    called = tmp_path / "plimsoll"
    called.write_text(f'#!/bin/sh\n[ $1 = serve ] || exec {sys.executable} -m controlplane "$@"\n')
    called.chmod(0o700)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = []
    for _ in range(2):
        argv = [*shell, script.replace("$$", "$"), name, "serve"]
        ran = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        told.append(ran.stdout)
    # A restart keeps it.
    assert told[0] == told[1]
    token = told[0].split()[-1]
    (entry,) = parse_tokens((tmp_path / "tokens").read_text(), "tokens")
    assert (tmp_path / "token").read_text() == f"{token}\n"
    assert entry == Token.of(token, Role.OPERATE, "compose")
    assert (tmp_path / "tokens").stat().st_mode & 0o077 == 0
