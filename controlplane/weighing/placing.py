"""The tiers of a whole pool: where the bands lie, and which band each replica is in.

The rules for one replica are in `tiers`; here is what they are applied to.
"""

from collections.abc import Collection, Mapping
from typing import Final

from controlplane.weighing import tiers
from controlplane.weighing.tiers import Placement

FOLLOWING: Final = 3.0
"""How many times sooner a replica moves to where most of its kind are."""


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
    placed: dict[str, Placement] = {}
    # Of those that are alone, thousands may be alike; one object stands for all that are.
    alone: dict[tuple[int, float, bool], Placement] = {}
    for id_, log in logs.items():
        old, own = before.get(id_), id_ in earned
        if old is not None and id_ in held:
            placed[id_] = old
        if id_ in kinds:
            together.setdefault((kinds[id_], log), []).append(id_)
        elif id_ not in placed:
            found = alone.get((id(old), log, own))
            if found is None:
                band = tiers.home(() if old is None else (old,), log, anchor)
                found = tiers.placed(old, band, log, anchor, patience, now, earned=own)
                alone[id(old), log, own] = found
            placed[id_] = found
    for (_, log), ids in together.items():
        earlier = [before[id_] for id_ in ids if id_ in before]
        band = tiers.home(earlier, log, anchor)
        # What most of a kind have earned needs less to show that it is right for the others.
        settled = sum(it.earned and it.band == band for it in earlier)
        shown = patience / FOLLOWING if settled > len(ids) / 2 else patience
        for id_ in ids:
            if id_ not in placed:
                old, own = before.get(id_), id_ in earned
                placed[id_] = tiers.placed(old, band, log, anchor, shown, now, earned=own)
    return placed, anchor
