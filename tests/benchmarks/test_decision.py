"""What a decision costs is measured part by part: the parts are named as the code has them."""

import subprocess
import sys


def test_each_part_of_a_decision_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.decision", "--replicas", "20", "--rounds", "1"]
    # Of its own process: it measures functions by putting others in their place.
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    for part in ("rows", "shares", "history", "weights", "resources"):
        assert part in found.stdout
