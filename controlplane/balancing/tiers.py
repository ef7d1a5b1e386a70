"""The stage that decides which replicas share a tier, within which Envoy compares live requests.

A tier is a band of capacities, a factor of `SPAN` wide, on a grid of bands. The grid's anchor is
where most replicas already are, the median of log capacity minus the middle of their band. So when
every replica slows down because requests have become longer, the grid moves with them, and when
replicas join or leave it stays: only a replica that moves relative to the others changes its tier,
and no tier is ever renamed. A tier move makes Envoy recreate the host and forget what it has in
flight there.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from controlplane.balancing.backlog import reaction_time
from controlplane.balancing.columns import Bools, Floats, Ints
from controlplane.balancing.frame import Frame
from controlplane.balancing.shares import START_STEPS

SPAN: Final = 2.1
"""Fastest to slowest in a tier; wider and equal weights are wrong, narrower and tiers are small."""
MARGIN: Final = 1.1
"""Factor by which a replica must leave its band, so that one at the edge does not go to and fro."""
AT_ONCE: Final = 3.0
"""Off by this factor, a replica changes its tier without further windows."""
EARNED: Final = 200.0
"""Requests from which on a replica has a tier worth defending; before, it is placed at once."""
ORDINARY: Final = 8
"""Number of band 0. The floor is five bands below the median and the ceiling four above."""

ALONE: Final = "replica-"
"""How the name of a tier of one replica begins."""
MANY_ENVOYS: Final = 6
"""Envoys from which on each sees too little of a class of long requests."""
MOST_ALONE: Final = 256
"""Replicas of a class that may have tiers of their own: each is one more locality to Envoy."""

_WIDTH: Final = math.log(SPAN)


def placement(frame: Frame) -> None:
    """Leave each replica in its band, let it wait, or move it.

    By where a share is going and not by where damping lets it be: one move, not several.
    """
    state, now = frame.state, frame.now
    logs = np.log(np.maximum(frame.target, 1e-9) * frame.usual)
    is_new = np.isnan(state.relative)
    anchor = _anchor(frame, logs, is_new)
    nearest = np.floor((logs - anchor) / _WIDTH + 0.5).astype(np.int64)
    off = np.abs(logs - anchor - state.band * _WIDTH)
    settled = is_new | ~state.earned
    stays = off <= _WIDTH / 2 + math.log(MARGIN)
    direction = np.where(stays, 0, np.sign(nearest - state.band))
    same = direction == state.leaving
    since = np.where(direction == 0, np.nan, np.where(same, state.leaving_since, now))
    moves = (direction != 0) & ((now - since >= frame.patience) | (off > math.log(AT_ONCE)))
    band = np.where(settled | moves, nearest, state.band)
    band = np.where(state.cut & ~is_new, state.band, band)
    left = settled | moves
    earned = (frame.worth >= EARNED) | (state.earned & ~is_new)
    frame.state = replace(
        state,
        band=band,
        leaving=np.where(left, 0, direction),
        leaving_since=np.where(left, np.nan, since),
        earned=earned,
    )
    frame.pool = replace(frame.pool, anchor=anchor)


def _anchor(frame: Frame, logs: Floats, is_new: np.typing.NDArray[np.bool_]) -> float:
    """The logarithm of the capacity in the middle of band 0."""
    before = frame.pool.anchor
    counting = frame.counting()
    known = counting & ~is_new
    if known.any():
        implied = np.sort(logs[known] - frame.state.band[known] * _WIDTH)
    elif counting.any():
        implied = np.sort(logs[counting])
    else:
        return before or 0.0
    low, high = float(implied[(len(implied) - 1) // 2]), float(implied[len(implied) // 2])
    return low if before is None or abs(low - before) <= abs(high - before) else high


def names(frame: Frame) -> None:
    """Number the tiers, and name them.

    In a tier all get alike. So replicas that start slowly together have their own in each band, and
    one that is overloaded is alone.
    """
    band = frame.state.band
    if frame.settings.balancing.policy != "capacity-tiers":
        frame.tier = np.arange(frame.size)
        frame.tier_names = list(frame.ids)
        return
    keys = band.copy()
    seconds = frame.settings.balancing.slow_start or 1.0
    ready_since = np.nan_to_num(frame.table.column("ready_since"))
    cohort = np.floor(ready_since * START_STEPS / seconds).astype(np.int64) % 1000
    keys = np.where(frame.starting, 1_000_000 + cohort * 1000 + band + 500, keys)
    keys = np.where(frame.overloaded, 10_000_000 + np.arange(frame.size), keys)
    found, frame.tier = np.unique(keys, return_inverse=True)
    frame.tier_names = [_name(int(key), frame) for key in found]


def names_as_before(frame: Frame, before: Ints, before_names: Sequence[str], known: Bools) -> None:
    """Leave replicas in the tiers that Envoys know them in; newcomers get that of their band.

    Args:
        frame: Of the decision; gets tiers and their names.
        before: Tier of each row, as decided last.
        before_names: Of these tiers.
        known: Rows of replicas that were decided about before.
    """
    names(frame)
    if frame.settings.balancing.policy != "capacity-tiers":
        return
    places = {name: at for at, name in enumerate(dict.fromkeys((*before_names, *frame.tier_names)))}
    old = np.zeros(frame.size, np.int64)
    old[: len(before)] = np.asarray([places[name] for name in before_names])[before]
    new = np.asarray([places[name] for name in frame.tier_names])[frame.tier]
    frame.tier, frame.tier_names = np.where(known, old, new), [*places]


def of_class(frame: Frame, name: str, rows: Bools) -> tuple[Ints, list[str]]:
    """Return the tier of each row in the cluster of a class, and the names of tiers.

    In a tier an Envoy goes by its own requests in flight. Where many Envoys share out few, long
    requests, each Envoy has hardly any in flight, and the control plane knows more: it sees what
    waits at a replica before a request there has ended. Each replica then has a tier of its own.

    Args:
        frame: Of the decision.
        name: Of the class.
        rows: Replicas that serve the class.
    """
    if name not in frame.sets_before() or not _is_each_alone(frame, name, rows):
        return frame.tier, frame.tier_names
    return np.arange(frame.size), [f"{ALONE}{id_}" for id_ in frame.ids]


def _is_each_alone(frame: Frame, name: str, rows: Bools) -> bool:
    """Whether each replica of a class has a tier of its own; half of each limit leaves it so."""
    before = any(of == name and tier.startswith(ALONE) for of, tier in frame.pool.told)
    flow = frame.demand.flows.get(name) if frame.demand is not None else None
    if flow is None:
        return before
    part = 0.5 if before else 1.0
    is_long = flow.mean >= part * reaction_time(frame) * float(np.median(frame.mixed[rows]))
    is_many = frame.dispatchers(name) >= part * MANY_ENVOYS
    return is_long and is_many and int(rows.sum()) <= MOST_ALONE


def _name(key: int, frame: Frame) -> str:
    if key >= 10_000_000:
        return f"overloaded-{frame.ids[key - 10_000_000]}"
    if key >= 500_000:
        cohort, band = divmod(key - 1_000_000, 1000)
        return f"starting-{cohort}-{ORDINARY - (band - 500)}"
    return f"tier-{ORDINARY - key}"
