"""``plimsoll demo`` as anybody would run it: what it shows, and that nothing of it is left."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import DEADLINE

DEMO = (sys.executable, "-m", "controlplane", "demo")
MARK = "PLIMSOLL_TEST_MARK"


class Marked:
    """Runs with a mark that every process started by it inherits, and a place for its files."""

    def __init__(self, folder: Path) -> None:
        self._mark = f"{MARK}={uuid.uuid4()}"
        self.files = folder
        name, _, value = self._mark.partition("=")
        self.environment = {**os.environ, name: value, "TMPDIR": str(folder)}

    def processes(self) -> dict[int, str]:
        """The command lines of those that run, by pid."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode()
            except OSError:
                continue
        return found

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Start a demonstration."""
        return subprocess.Popen(
            [*DEMO, *options],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def marked(tmp_path: Path) -> Marked:
    return Marked(tmp_path)


def comes(holds: Callable[[], bool], seconds: float = DEADLINE) -> bool:
    """Ask again and again until something holds or it takes too long."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


ALL = 8
"""Itself, the control plane, four replicas and two Envoys."""


def is_complete(marked: Marked) -> bool:
    """Whether all of it runs."""
    return len(marked.processes()) == ALL


def test_traffic_leaves_the_slowed_replica_no_request_fails_and_nothing_is_left(
    marked: Marked,
) -> None:
    with marked.start("--seconds", "16", "--json") as demo:
        out, progress = demo.communicate()
    assert demo.returncode == 0, progress
    result = json.loads(out.splitlines()[-1])
    assert result["failed"] == 0
    assert result["requests"] > 100
    assert result["envoys"] == 2
    assert [replica["id"] for replica in result["replicas"]] == ["a", "b", "c", "d"]
    assert sum(replica["share"] for replica in result["replicas"]) == pytest.approx(1, abs=0.01)
    assert result["slowed"]["share_after"] < result["slowed"]["share_before"]
    assert not marked.processes()
    assert not list(marked.files.iterdir())


@pytest.mark.parametrize(("number", "parts"), [(signal.SIGINT, 2), (signal.SIGTERM, ALL)])
def test_a_signal_while_it_starts_or_later_ends_everything_that_was_started(
    number: signal.Signals, parts: int, marked: Marked
) -> None:
    with marked.start("--seconds", "60", "--json") as demo:
        assert comes(lambda: len(marked.processes()) >= parts)
        demo.send_signal(number)
        out, _ = demo.communicate(timeout=DEADLINE)
    assert demo.returncode == 128 + number
    assert out == ""
    assert not marked.processes()
    assert not list(marked.files.iterdir())


def test_without_an_end_it_sums_up_when_it_is_stopped(marked: Marked) -> None:
    with marked.start("--seconds", "0", "--json") as demo:
        assert demo.stderr is not None
        # The last thing that it says before requests begin.
        assert any("sidecar-2 has its replicas" in line for line in demo.stderr)
        demo.send_signal(signal.SIGINT)
        out, progress = demo.communicate(timeout=DEADLINE)
    assert demo.returncode == 0, progress
    assert json.loads(out)["slowed"] == {"id": "b", "share_before": None, "share_after": None}
    assert not marked.processes()


def test_a_demonstration_that_is_killed_takes_its_processes_along(marked: Marked) -> None:
    with marked.start("--seconds", "60", "--json") as demo:
        # More would be started by itself alone.
        assert comes(lambda: len(marked.processes()) > 2)
        demo.kill()
    assert comes(lambda: not marked.processes())


def test_a_part_that_dies_is_named_and_ends_the_rest(marked: Marked) -> None:
    with marked.start("--seconds", "60") as demo:
        assert comes(lambda: is_complete(marked))

        def envoys() -> list[int]:
            return [pid for pid, line in marked.processes().items() if "sidecar-2.json" in line]

        # A process that was just forked has the demonstration's command line for a moment.
        assert comes(lambda: bool(envoys()))
        os.kill(envoys()[0], signal.SIGKILL)
        _, said = demo.communicate(timeout=DEADLINE)
    assert demo.returncode == 1
    assert "plimsoll: sidecar-2 ended by signal 9" in said
    assert not marked.processes()


def test_too_short_a_time_is_bad_usage() -> None:
    ran = subprocess.run([*DEMO, "--seconds", "3"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr == "plimsoll: --seconds: weights need 8 s to move; give that or more, or 0\n"
