"""After a start: whether enough was seen to tell Envoys anything."""

from collections.abc import Callable
from typing import Final

from controlplane.fleet import Fleet
from controlplane.plane.discoveries import Discoveries

SETTLE_SECONDS: Final = 5.0
"""After a start nothing is served until every replica was probed once, for so long at most: Envoys
that hold a configuration must not lose it to a control plane that has not looked yet."""


def is_settled(
    fleet: Fleet,
    discoveries: Discoveries,
    are_probed: Callable[[], bool],
    waited: float,
    *,
    has_decided: bool,
) -> bool:
    """Whether Envoys can be told what is known.

    Args:
        fleet: As it is.
        discoveries: What fills its pools.
        are_probed: Whether every replica was asked for its health.
        waited: Seconds since the start.
        has_decided: Whether they were told anything since.
    """
    if not fleet.pools and not has_decided:
        return False
    if not discoveries.are_settled(fleet, waited):
        return False
    return waited >= SETTLE_SECONDS or (discoveries.are_asked() and are_probed())
