"""Have Python look for garbage among few objects at a time.

A collection stops every thread, also the one that answers probes, for about 2 µs an object on a
busy machine: by default for seconds where there are ten thousand replicas. Reference counting frees
almost everything here; what is left are small circles, such as a closed connection.
"""

import asyncio
import gc
from typing import Final

YOUNG: Final = 2_000
"""New objects after which Python looks among them."""
MIDDLE: Final = 10
"""Of these looks the last is at all objects that came since the one before."""
OLD: Final = 10_000
"""Objects older than that among which is looked at once. Where there are more the process grows:
they are taken to stay."""
GROWN: Final = 250_000
"""Objects left out since the last look at all, from which on another one is worth it, unless more
were left out then: some of them have become garbage, such as closed connections."""
_NEVER: Final = 1_000_000_000
_INTERVAL: Final = 1.0


def collect_little() -> None:
    """Leave out all that there is, and have `collect_old` look at what grows old."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, _NEVER)


async def collect_old() -> None:
    """Look among old objects while they are few, and rarely among all, until cancelled."""
    kept = gc.get_freeze_count()
    while True:
        await asyncio.sleep(_INTERVAL)
        look()
        kept = look_at_all_after(kept)


def look_at_all_after(kept: int) -> int:
    """Look among all objects where many more are left out than were; returns how many are now.

    It takes a third of a second with 10,000 replicas. Without it memory would grow for ever.
    """
    if gc.get_freeze_count() - kept < max(kept, GROWN):
        return kept
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()


def look() -> None:
    """Free old objects that are garbage; leave out what there are many of."""
    if (old := _old()) < OLD // 2:
        return
    if old <= OLD:
        gc.collect()
    if _old() >= OLD // 2:
        gc.freeze()


def _old() -> int:
    return len(gc.get_objects(generation=2))
