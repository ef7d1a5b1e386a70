"""What an Envoy says of resources: the real one, and programs that only have its name."""

import asyncio
import socket
import sys
from dataclasses import replace
from pathlib import Path

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane import envoy as edge
from controlplane.config import load_config
from controlplane.envoy import EnvoyError, find_envoy, first_refused
from controlplane.fleet import Fleet, declare
from controlplane.plane import catalog_if_healthy
from controlplane.resources.catalog import Catalog
from controlplane.resources.resource import CLUSTER, ENDPOINT, ROUTE
from controlplane.resources.standalone import Part, gateway_parts, sidecar_parts

POOLS = """\
pools:
  - name: tiers
    model: m
    listener: {address: "127.0.0.1:10000"}
    balancing: {locality: nearest}
    replicas:
      - {id: a, address: "10.0.0.1:80", locality: {region: eu, zone: a}}
      - {id: b, address: "10.0.0.2:80", locality: {region: eu, zone: b}}
      - {id: c, address: "10.0.0.3:80", locality: {region: us, zone: a}}
  - name: hashing
    model: m
    listener: {address: "[::1]:10001"}
    balancing: {policy: maglev, hash: {cookie: c, ttl: 1h}}
    replicas: [{id: a, address: "[2001:db8::1]:80"}]
  - {name: gateway, model: m, listener: {address: "0.0.0.0:10002"}}
  - name: classes
    model: m
    listener: {address: "127.0.0.1:10003"}
    route: {prefix: /v1}
    classes:
      - {name: jobs, match: {header: {name: x-job, value: "a b"}, prefix: /v1/x, max_bytes: 0}}
      - {name: batch, match: {prefix: /v1/batch}}
      - {name: bulk, match: {min_bytes: 1125899906842624}}
    replicas: [{id: a, address: "10.0.0.1:80"}, {id: b, address: "10.0.0.2:80"}]
"""


def of(text: str = POOLS) -> Catalog:
    config = load_config(text, "plimsoll.yaml")
    return catalog_if_healthy(declare(Fleet(), config, 0.0).fleet, config.otlp)


def refused(parts: tuple[Part, ...], envoy: Path | None = None) -> tuple[str, str] | None:
    """The first that the real Envoy refuses, unless it is another's, and why."""
    binary = envoy or find_envoy()
    assert binary is not None
    found = asyncio.run(first_refused(binary, parts, 60.0))
    return found and (str(found[0]), found[1])


def with_wrong(parts: tuple[Part, ...], type_url: str, name: str, held: bytes) -> tuple[Part, ...]:
    """The parts, of which one says something else."""
    return tuple(
        replace(part, held=held) if (part.type_url, part.name) == (type_url, name) else part
        for part in parts
    )


def program(folder: Path, text: str, interpreter: str = sys.executable) -> Path:
    """A program that is no Envoy."""
    file = folder / "envoy"
    file.write_text(f"#!{interpreter}\n{text}\n")
    file.chmod(0o755)
    return file


def test_envoy_takes_all_that_sidecars_and_gateways_are_sent() -> None:
    catalog = of()
    assert refused(sidecar_parts(catalog)) is None
    assert refused(gateway_parts(catalog)) is None


@pytest.mark.parametrize("collector", ["10.0.0.9:4317", "[2001:db8::9]:4317", "otel.local:4317"])
def test_envoy_takes_what_sends_spans_and_records_to_a_collector(collector: str) -> None:
    catalog = of(f"otlp: {{address: '{collector}', access_log: true}}\n{POOLS}")
    assert refused(sidecar_parts(catalog)) is None
    assert refused(gateway_parts(catalog)) is None


def test_envoy_takes_a_fleet_without_pools() -> None:
    assert refused(sidecar_parts(of(""))) is None
    assert refused(gateway_parts(of(""))) is None


def test_a_refused_cluster_is_named_with_envoys_reason() -> None:
    parts = sidecar_parts(of())
    (held,) = (part.held for part in parts if (part.type_url, part.name) == (CLUSTER, "hashing"))
    wrong = cluster_v3.Cluster.parse(held)
    wrong.health_checks[0].unhealthy_threshold = None
    assert refused(with_wrong(parts, CLUSTER, "hashing", bytes(wrong))) == (
        "the cluster hashing",
        "HealthCheckValidationError.UnhealthyThreshold: value is required",
    )


def test_refused_endpoints_are_named_with_envoys_reason() -> None:
    parts = sidecar_parts(of())
    (held,) = (part.held for part in parts if (part.type_url, part.name) == (ENDPOINT, "hashing"))
    wrong = cluster_v3.Cluster.parse(held)
    assert wrong.load_assignment is not None
    wrong.load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight = 0
    assert refused(with_wrong(parts, ENDPOINT, "hashing", bytes(wrong))) == (
        "the endpoints of hashing",
        "LbEndpointValidationError.LoadBalancingWeight: value must be greater than or equal to 1",
    )


def with_wrong_routes(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts, of which the routes of one pool take every host twice."""
    (held,) = (part.held for part in parts if (part.type_url, part.name) == (ROUTE, "hashing"))
    wrong = listener_v3.Listener.parse(held)
    network_filter = wrong.filter_chains[0].filters[0]
    assert network_filter.typed_config is not None
    manager = hcm_v3.HttpConnectionManager.parse(network_filter.typed_config.value)
    assert manager.route_config is not None
    manager.route_config.virtual_hosts[0].domains = ["*", "*"]
    network_filter.typed_config = protobuf.Any.pack(manager)
    return with_wrong(parts, ROUTE, "hashing", bytes(wrong))


def test_refused_routes_are_named_and_their_listener_is_not() -> None:
    found = refused(with_wrong_routes(sidecar_parts(of())))
    assert found is not None
    assert found[0] == "the routes of hashing"
    assert "Only a single wildcard domain is permitted" in found[1]


def test_of_two_that_do_not_go_together_the_later_one_is_named() -> None:
    parts = sidecar_parts(of())
    (held,) = (part.held for part in parts if (part.type_url, part.name) == (CLUSTER, "hashing"))
    wrong = cluster_v3.Cluster.parse(held)
    wrong.name = "tiers"
    found = refused(with_wrong(parts, CLUSTER, "hashing", bytes(wrong)))
    assert found is not None
    assert found[0] == "the cluster tiers"
    assert "duplicate cluster 'tiers'" in found[1]


def test_no_replica_hears_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as replica:
        replica.settimeout(0)
        port = replica.getsockname()[1]
        text = POOLS.replace("10.0.0.1:80", f"127.0.0.1:{port}")
        assert refused(sidecar_parts(of(text))) is None
        with pytest.raises(BlockingIOError):
            replica.accept()


def test_addresses_that_are_in_use_are_no_obstacle() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        text = POOLS.replace("127.0.0.1:10000", f"127.0.0.1:{other.getsockname()[1]}")
        assert refused(sidecar_parts(of(text))) is None


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parts = sidecar_parts(of())
    assert refused(parts) is None
    assert refused(with_wrong_routes(parts)) is not None
    assert list(tmp_path.iterdir()) == []


def test_an_envoy_that_hangs_is_ended_with_all_it_has_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    text = f"sleep 600 & echo $! > {started}.new; mv {started}.new {started}\nwait"
    hanging = program(tmp_path, text, "/bin/sh")
    with pytest.raises(EnvoyError, match=r"envoy did not finish within 2 s$"):
        asyncio.run(first_refused(hanging, (), 2.0))
    child = Path(f"/proc/{started.read_text().strip()}/stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_an_envoy_that_says_what_none_says_is_of_no_use(tmp_path: Path, code: int) -> None:
    garbage = program(tmp_path, rf"print('\x1b[2Jgar\nbage\x00'); raise SystemExit({code})")
    with pytest.raises(EnvoyError) as raised:
        asyncio.run(first_refused(garbage, sidecar_parts(of()), 60.0))
    said = f"it ended with {code} and said \ufffd[2Jgar bage\ufffd"
    assert str(raised.value) == f"{garbage} cannot be used: {said}"


def test_of_an_envoy_that_says_too_much_the_end_is_kept(tmp_path: Path) -> None:
    long = program(tmp_path, "print('x' * 10_000_000)\nprint('the end')")
    with pytest.raises(EnvoyError) as raised:
        asyncio.run(first_refused(long, (), 60.0))
    assert len(str(raised.value)) < edge.REASON_CHARACTERS + 200


def test_an_envoy_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    for file, why in (
        (tmp_path / "none", "No such file or directory"),
        (program(tmp_path, "", "/nowhere"), "No such file or directory"),
    ):
        with pytest.raises(EnvoyError, match=f"{file} cannot be started: {why}"):
            asyncio.run(first_refused(file, (), 60.0))
    file.chmod(0o644)
    with pytest.raises(EnvoyError, match="cannot be started: Permission denied"):
        asyncio.run(first_refused(file, (), 60.0))


def test_an_envoy_that_crashes_over_something_is_said_to_refuse_it(tmp_path: Path) -> None:
    crashing = program(
        tmp_path,
        "import os, sys\n"
        "said = open(sys.argv[-1], 'rb').read()\n"
        "if b'hashing with endpoints' in said: os.abort()\n"
        "print(f\"configuration '{sys.argv[-1]}' OK\")",
    )
    assert refused(sidecar_parts(of()), crashing) == (
        "the endpoints of hashing",
        "it was ended by signal 6 and said nothing",
    )
