"""Whether the machine stands still now and then, because others use it too.

A virtual machine whose host is busy gets its cores for part of the time only, in bursts of minutes.
What is measured then is the host. So before each slot every core is asked whether it is there all
the time, and a slot waits for a while if one is not.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Final

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


async def longest_gap() -> float:
    """Seconds for which a core was away at most, while each had something to do."""
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
    """Wait until every core is there all the time, but not for ever.

    Args:
        say: Told once why it waits.
        gap: Looks, in seconds.
        sleep: Waits for some seconds.
    """
    waited = 0.0
    while (found := await gap()) > STILL and waited < PATIENCE:
        if not waited:
            say(f"  waits: something else had a core for {1000 * found:.0f} ms")
        await sleep(PAUSE)
        waited += PAUSE + SPIN
