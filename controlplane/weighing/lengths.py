"""How long requests are, in tokens: for replicas that get longer ones than others do.

Capacities are in requests per second of the length that is usual in the pool. Where a replica
counts tokens, what it carries is measured in them, so that it does not look slow because its
requests are long.
"""

import math
from collections.abc import Sequence
from typing import Final

from controlplane.signals import Window

ENOUGH: Final = 100.0
"""Requests from which on their mean length is taken for the usual one."""


def usual(previous: float | None, windows: Sequence[Window]) -> float | None:
    """Tokens of a request of the usual length: a unit, so it stays what it was at first.

    Args:
        previous: What it was; None before.
        windows: The newest of each replica that counts.
    """
    if previous is not None:
        return previous
    known = [(window.count, window.tokens) for window in windows if window.tokens]
    requests = math.fsum(count for count, _ in known)
    if requests < ENOUGH:
        return None
    return math.fsum(tokens for _, tokens in known) / requests


def are_counted(window: Window | None) -> bool:
    """Whether a replica counts the tokens of its requests."""
    return window is not None and window.tokens is not None


def lately(window: Window) -> tuple[float, float] | None:
    """Mean tokens of a request in a window, and how many those were; None where nobody counts."""
    if not window.tokens_in or not window.samples:
        return None
    return window.tokens_in / window.samples, window.samples


def rate(window: Window, tokens: float | None) -> float:
    """Requests of the usual length per second that a replica served."""
    if tokens is None or window.tokens_in is None or not window.samples:
        return window.rate
    return window.rate * window.tokens_in / window.samples / tokens
