"""How many functions some work calls, whatever else the machine does."""

import sys
from collections.abc import Callable
from types import FrameType


def calls(work: Callable[[], object]) -> int:
    """How many calls of Python functions it takes; each turn of a generator counts."""
    count, before = 0, sys.getprofile()

    def profile(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
