"""Standing in for slower hardware: how long a batch stays in work, and how to say so over HTTP.

A demonstration hook of this example only; a server that serves anyone has no such switch.
"""

from __future__ import annotations

import json

from embedding_replica.errors import ApiError


def hold(computed: float, speed: float) -> float:
    """Seconds a batch stays in work after computing.

    Args:
        computed: Seconds this machine took.
        speed: The other hardware's speed as a fraction of this machine's, in (0, 1].
    """
    return computed * (1 / speed - 1)


def is_speed(number: float) -> bool:
    """Tell whether a number is in (0, 1]; NaN is not."""
    return 0 < number <= 1


def parse(body: bytes) -> float:
    """Read ``{"speed": 0.1}``.

    Raises:
        ApiError: It is something else.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not valid JSON.", code="invalid_json") from None
    number = asked.get("speed") if isinstance(asked, dict) else None
    if isinstance(number, bool) or not isinstance(number, int | float) or not is_speed(number):
        raise ApiError(400, "'speed' has to be a number above 0 and at most 1.", "speed")
    return float(number)
