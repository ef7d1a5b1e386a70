"""What others took of the machine while something was measured."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.machine import cpu_seconds

DISTURBED: Final = 0.1
"""Cores. Where others took more on average, a figure says something of them too."""


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
