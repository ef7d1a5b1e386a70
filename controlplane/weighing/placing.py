"""The tiers of a whole pool: where the bands lie, and which band each replica is in.

The rules for one replica are in `tiers`; here is what they are applied to.
"""

from collections.abc import Collection, Mapping

from controlplane.weighing import tiers
from controlplane.weighing.tiers import Placement


def placements(
    before: Mapping[str, Placement],
    logs: Mapping[str, float],
    kinds: Mapping[str, str],
    *,
    counting: Collection[str],
    earned: Collection[str],
    held: Collection[str],
    anchor: float | None,
    patience: float,
    now: float,
) -> tuple[dict[str, Placement], float]:
    """Place every replica.

    Args:
        before: Where each was, by id.
        logs: Logarithms of capacities, of all replicas.
        kinds: The name of the group that each was taken together with; those of one kind and one
            capacity belong together, whatever chance did to each.
        counting: Ids of those that say where the bands lie.
        earned: Ids of those whose capacity is of their own measuring.
        held: Ids of those that stay where they are.
        anchor: The previous one; None before any.
        patience: Seconds that a replica must have belonged elsewhere.
        now: Seconds of a monotonic clock.

    Returns:
        Placements by id, and the logarithm of the capacity in the middle of band 0.
    """
    if counting:
        anchor = tiers.anchored(before, {id_: logs[id_] for id_ in counting}, anchor)
    anchor = anchor or 0.0
    together: dict[tuple[str, float], list[str]] = {}
    for id_, log in logs.items():
        together.setdefault((kinds.get(id_, id_), log), []).append(id_)
    placed = {}
    for (_, log), ids in together.items():
        band = tiers.home((before[id_] for id_ in ids if id_ in before), log, anchor)
        for id_ in ids:
            old = before.get(id_)
            placed[id_] = (
                old
                if old is not None and id_ in held
                else tiers.placed(old, band, log, anchor, patience, now, earned=id_ in earned)
            )
    return placed, anchor
