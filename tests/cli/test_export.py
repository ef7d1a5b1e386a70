"""``plimsoll export``: one sentence where it cannot, and nothing is half written."""

import fcntl
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll
from controlplane.resources.resource import LISTENER
from tests.api.served import served
from tests.cli.answering import run

POOL = """\
pools:
  - name: m
    model: x
    listener: {address: "127.0.0.1:10000"}
    replicas: [{id: a, address: "127.0.0.1:9001"}]
"""


def export(folder: Path, *options: str) -> Result:
    config = folder.parent / "p.yaml"
    config.write_text(POOL)
    arguments = ["export", "--node", "n", "--config", str(config), *options, str(folder)]
    return CliRunner().invoke(plimsoll, arguments)


def said(ran: Result, code: int) -> str:
    """The one sentence that it ends with."""
    assert (ran.exit_code, ran.stdout) == (code, ""), ran.output
    (line,) = ran.stderr.splitlines()
    return line


def test_a_bootstrap_reads_the_files_and_knows_no_control_plane(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    ran = export(folder)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"{folder}: 4 files; envoy -c {folder}/envoy.yaml\n"
    data = yaml.safe_load((folder / "envoy.yaml").read_text())
    assert {*data["dynamic_resources"]} == {"cds_config", "lds_config"}
    assert data["static_resources"]["clusters"] == []
    assert not {"cluster_manager", "hds_config"} & data.keys()
    assert data["node"]["metadata"] == {"plimsoll": {}}
    for source in data["dynamic_resources"].values():
        assert Path(source["pathConfigSource"]["path"]).is_file()


def test_the_same_export_again_moves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    export(folder)
    before = os.readlink(folder / "xds" / "current")
    assert export(folder).exit_code == 0
    assert os.readlink(folder / "xds" / "current") == before
    ran = export(folder, "--admin-port", "9902")
    assert ran.stderr == f"plimsoll: {folder}/envoy.yaml has changed: restart Envoy to apply it\n"


def test_what_a_cut_off_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    export(folder)
    (folder / "xds" / "0123456789abcdef" / "eds").mkdir(parents=True)
    assert export(folder, "--listen", "m=127.0.0.1:10001").exit_code == 0
    current = os.readlink(folder / "xds" / "current")
    assert {item.name for item in (folder / "xds").iterdir()} == {"current", current}


def test_it_writes_into_no_file_and_below_none(tmp_path: Path) -> None:
    taken = tmp_path / "e"
    taken.write_text("mine")
    assert said(export(taken), 1) == f"plimsoll: {taken} cannot be written: File exists"
    assert taken.read_text() == "mine"
    config = str(tmp_path / "p.yaml")
    arguments = ["export", "--node", "n", "--config", config, str(taken / "below")]
    ran = CliRunner().invoke(plimsoll, arguments)
    assert said(ran, 1) == f"plimsoll: {taken}/below cannot be written: Not a directory"


def test_a_bootstrap_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    (folder / "envoy.yaml").write_text("mine")
    assert said(export(folder), 2) == (
        f"plimsoll: {folder}/envoy.yaml exists and was not written by an export:"
        " give another folder"
    )
    assert [item.name for item in folder.iterdir()] == ["envoy.yaml"]
    assert (folder / "envoy.yaml").read_text() == "mine"


def test_two_exports_do_not_write_at_the_same_time(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        assert said(export(folder), 1) == f"plimsoll: another export is writing into {folder}"
    finally:
        os.close(number)
    assert [*folder.iterdir()] == []


def test_what_cannot_be_written_whole_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "e"
    export(folder)
    before = os.readlink(folder / "xds" / "current")

    def full(_: Path, text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    config = tmp_path / "p.yaml"
    arguments = ["--config", str(config), "--listen", "m=127.0.0.1:10001", str(folder)]
    ran = CliRunner().invoke(plimsoll, ["export", "--node", "n", *arguments])
    assert said(ran, 1) == f"plimsoll: {folder} cannot be written: No space left on device"
    assert os.readlink(folder / "xds" / "current") == before
    assert {item.name for item in (folder / "xds").iterdir()} == {"current", before}


@pytest.mark.parametrize("option", ["--pool=n", "--listen=n=127.0.0.1:10001"])
def test_a_pool_that_is_not_there_is_named(tmp_path: Path, option: str) -> None:
    folder = tmp_path / "e"
    sentence = f"plimsoll: {tmp_path}/p.yaml has no pool 'n'; it has m"
    assert said(export(folder, option), 2) == sentence
    assert not folder.exists()


def test_certificates_of_a_control_plane_take_one(tmp_path: Path) -> None:
    sentence = said(export(tmp_path / "e", "--identity", "ads"), 2)
    assert sentence == (
        "plimsoll: --identity ads needs a control plane: give --spire or --identity-certificate"
    )


async def test_a_running_control_plane_is_asked_for_what_this_envoy_would_get(
    tmp_path: Path,
) -> None:
    async with served() as api:
        await api.filled()
        # What Envoy's messages take at their first use is not for the command's deadline.
        assert (await api.ask("POST", "/v1/resources", json={})).status == 200
        folder = tmp_path / "e"
        gateway = ("--gateway", "127.0.0.1:10009")
        ran = await run(api, "export", "--node", "n", *gateway, str(folder))
        assert ran.exit_code == 0, ran.output
        listeners = (folder / "xds" / "current" / "lds.json").read_text()
        assert LISTENER in listeners
        assert "10009" in listeners
        missing = tmp_path / "missing"
        ran = await run(api, "export", "--node", "n", "--pool", "none", str(missing))
        assert said(ran, 1) == "plimsoll: there is no pool 'none'"
        assert not missing.exists()
