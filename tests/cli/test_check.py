"""``plimsoll check``: one line, and an exit code that a script can rely on."""

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import pytest
from click.testing import CliRunner, Result

from controlplane.cli import check as check_command
from controlplane.cli.group import plimsoll
from controlplane.envoy import find_envoy
from controlplane.fleet import Pool
from controlplane.resources import clusters, pool_resources
from tests.processes import DEADLINE

EXAMPLES = Path(__file__).parents[2] / "examples"

POOL = """\
pools:
  - name: m
    model: x
    listener: {address: "127.0.0.1:10000"}
    replicas:
      - {id: a, address: "127.0.0.1:9001"}
"""


def check(file: Path, *options: str) -> Result:
    return CliRunner().invoke(plimsoll, ["check", str(file), *options])


def found_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have Envoy's package look as if it were not installed, and PATH be one folder."""
    monkeypatch.setitem(sys.modules, "envoy", None)
    monkeypatch.setenv("PATH", str(folder))


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "plimsoll.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_good_file_is_counted(tmp_path: Path) -> None:
    two = POOL + '      - {id: b, address: "127.0.0.1:9002"}\n'
    file = written(tmp_path, two)
    result = check(file)
    assert (result.exit_code, result.stdout) == (0, f"{file}: ok: 1 pool, 2 replicas\n")


def test_a_file_without_pools_is_good_and_what_is_missing_is_said(tmp_path: Path) -> None:
    file = written(tmp_path, "pools: []\n")
    result = check(file)
    assert (result.exit_code, result.stdout) == (0, f"{file}: ok: 0 pools, 0 replicas\n")
    assert (
        "plimsoll: without a pool Envoys get nothing; add one here or by the API\n" in result.stderr
    )


def test_what_does_not_work_for_grpc_is_said(tmp_path: Path) -> None:
    more = "    upstream: {protocol: http2}\n    health_check: {protocol: grpc}\n"
    result = check(written(tmp_path, POOL + more))
    assert result.exit_code == 0
    assert "pool 'm' speaks gRPC: its requests do not state a length" in result.stderr
    assert "speaks gRPC" not in check(written(tmp_path, POOL)).stderr


def test_files_of_envoys_machines_need_not_be_on_this_one(tmp_path: Path) -> None:
    tls = "{certificate: /nowhere/tls.crt, key: /nowhere/tls.key, client_ca: /nowhere/ca.crt}"
    text = POOL.replace('"127.0.0.1:10000"', f'"127.0.0.1:10000", tls: {tls}')
    more = "    upstream: {protocol: http2, tls: {ca: /nowhere/ca.crt}}\n"
    result = check(written(tmp_path, text + more))
    assert (result.exit_code, result.stdout.endswith("ok: 1 pool, 1 replica\n")) == (0, True)


def test_a_good_file_is_counted_in_json(tmp_path: Path) -> None:
    file = written(tmp_path, POOL)
    assert json.loads(check(file, "--json").stdout) == {
        "file": str(file),
        "ok": True,
        "pools": 1,
        "replicas": 1,
        "envoy": {"path": str(find_envoy()), "resources": 7},
    }


@pytest.mark.parametrize("file", [*EXAMPLES.glob("*/plimsoll.yaml")], ids=str)
def test_envoy_takes_every_example(file: Path) -> None:
    result = check(file)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(f"plimsoll: {find_envoy()} accepts the ")


def broken(pool: Pool, name: str | None = None) -> bytes:
    """The cluster that our own rules let through and Envoy does not."""
    made = cluster_v3.Cluster.parse(clusters.cluster(pool, name))
    made.health_checks[0].timeout = timedelta(0)
    return bytes(made)


def test_what_envoy_refuses_is_one_line_with_its_name_and_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_resources, "cluster", broken)
    file = written(tmp_path, POOL)
    result, in_json = check(file), check(file, "--json")
    sentence = (
        f"{file}: Envoy refuses the cluster m:"
        " HealthCheckValidationError.Timeout: value must be greater than 0s"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"plimsoll: {sentence}\n"
    answer = {"file": str(file), "ok": False, "error": sentence}
    assert (in_json.exit_code, json.loads(in_json.stdout)) == (2, answer)


def test_without_an_envoy_one_line_says_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_on_path(monkeypatch, tmp_path)
    file = written(tmp_path, POOL)
    result = check(file)
    assert (result.exit_code, result.stdout) == (0, f"{file}: ok: 1 pool, 1 replica\n")
    assert result.stderr == (
        "plimsoll: no Envoy was found to validate this:"
        " pip install 'plimsoll[demo]', or put an envoy on PATH\n"
    )
    assert json.loads(check(file, "--json").stdout)["envoy"] is None


def test_an_envoy_on_the_path_that_hangs_is_ended_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_on_path(monkeypatch, tmp_path)
    monkeypatch.setattr(check_command, "SECONDS", 1.0)
    envoy = tmp_path / "envoy"
    envoy.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    envoy.chmod(0o755)
    file = written(tmp_path, POOL)
    result, in_json = check(file), check(file, "--json")
    sentence = f"{file}: {envoy} did not finish within 1 s"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"plimsoll: {sentence}\n")
    answer = {"file": str(file), "ok": False, "error": sentence}
    assert (in_json.exit_code, json.loads(in_json.stdout)) == (1, answer)


def test_ended_while_envoy_works_it_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM, as from a CI system that has waited long enough."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    envoy = tmp_path / "bin" / "envoy"
    envoy.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec /bin/sleep 600\n")
    envoy.chmod(0o755)
    # A package of this name without what it should have comes first.
    (tmp_path / "envoy.py").write_text("")
    environment = os.environ | {
        "PATH": str(tmp_path / "bin"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}",
    }
    command = [sys.executable, "-m", "controlplane", "check", str(written(tmp_path, POOL))]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        for _ in range(round(10 * DEADLINE)):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
                break
            time.sleep(0.1)
        assert list((tmp_path / "tmp").iterdir()) != []
        running.terminate()
        _, said = running.communicate(timeout=DEADLINE)
    assert (running.returncode, said) == (143, "")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_a_bad_file_is_one_line_with_its_place(tmp_path: Path) -> None:
    file = written(tmp_path, POOL.replace("model:", "modle:"))
    result = check(file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"plimsoll: {file}:3: pools[0].modle: unknown key; did you")
    assert result.stderr.count("\n") == 1


def test_a_bad_file_in_json_keeps_the_exit_code(tmp_path: Path) -> None:
    result = check(written(tmp_path, "pools: 1"), "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout)
    assert (answer["ok"], ":1: pools: must be a list" in answer["error"]) == (False, True)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "it is a folder and no regular file"),
        (Path("/dev/zero"), "it is a device and no regular file"),
    ):
        result = check(path)
        assert result.exit_code == 2
        assert result.stderr == f"plimsoll: {path}: cannot be read: {why}\n"


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    result = check(written(tmp_path, b"\xff\xfe\x00"))
    assert result.exit_code == 2
    assert "is not UTF-8 at byte 0" in result.stderr


def test_as_a_process_it_ends_with_2_and_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controlplane", "check", str(tmp_path / "none.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
