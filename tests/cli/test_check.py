"""``plimsoll check``: one line, and an exit code that a script can rely on."""

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from controlplane.cli.group import plimsoll

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


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "plimsoll.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_good_file_is_counted(tmp_path: Path) -> None:
    two = POOL + '      - {id: b, address: "127.0.0.1:9002"}\n'
    file = written(tmp_path, two)
    result = check(file)
    assert (result.exit_code, result.stdout) == (0, f"{file}: ok: 1 pool, 2 replicas\n")


def test_a_good_file_is_counted_in_json(tmp_path: Path) -> None:
    file = written(tmp_path, POOL)
    assert json.loads(check(file, "--json").stdout) == {
        "file": str(file),
        "ok": True,
        "pools": 1,
        "replicas": 1,
    }


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
        (tmp_path, "Is a directory"),
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
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
