"""Replicas as the parting of requests by length sees them."""

import math
from dataclasses import replace

from controlplane.weighing.fast import Member, Seen
from controlplane.weighing.sizes import Sizes

FAST, SLOW = ("f0", "f1"), ("s0", "s1", "s2", "s3", "s4", "s5")


def member(speed: float, band: int | None, **changes: object) -> Member:
    usual = Member(band, speed, speed, 1, 500.0, Seen(0, 1000.0, 100_000.0), (100.0, 50.0))
    return replace(usual, **changes)  # type: ignore[arg-type]


def pool(ratio: float = 4.0) -> dict[str, Member]:
    """Two fast replicas and six slow ones."""
    return {
        **{id_: member(ratio, 2) for id_ in FAST},
        **{id_: member(1.0, 0) for id_ in SLOW},
    }


def told(
    sizes: Sizes | None, members: dict[str, Member], now: float = math.inf
) -> dict[str, float]:
    """The weights that follow from a decision."""
    shares = {id_: it.share for id_, it in members.items()}
    part = sizes.of_short(shares, now) if sizes else 1.0
    fast = sizes.fast if sizes else frozenset()
    return {id_: it.share * (part if id_ in fast else 1.0) for id_, it in members.items()}
