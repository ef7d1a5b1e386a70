"""Where each zone sends the requests of its Envoys: at home as far as its replicas have room.

In come what arises in each zone and what its replicas carry, both in tokens per second; out comes
the part of each zone's requests for every zone. All zones are considered together, so what one
spills never fills another beyond what it can carry. What arises is counted where requests begin,
wherever they are sent, so moving them changes nothing that the next decision rests on.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from controlplane.balancing.columns import Floats
from controlplane.balancing.sentences import counted, number, percent

TARGET: Final = 0.7
"""Utilisation up to which a zone keeps what arises in it. Beyond that requests wait for each other
longer than any way to another zone takes; docs/decisions/0038-zones.md has it measured."""
UNTIMED: Final = 0.5
"""Part of the target that holds for a replica whose capacity is worked out from latency. With
little to do it may look twice as fast as it is, or faster."""
DEAD_BAND: Final = 0.05
"""A zone's Envoys get new shares once they differ for this part of its requests."""
FADING: Final = 20.0
"""Seconds in which demand that is no longer there is forgotten: a zone spills at once, and takes
its requests back slowly."""
_GRAIN: Final = 0.01
"""What a part of the requests is rounded to."""
_NOTHING: Final = 1e-6
"""A part of the requests that is none."""
_LITTLE: Final = 1e-9
"""Part of all capacity that a zone without any demand is taken to need: where it would send."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A region and a zone in it; empty where it is not said."""

    region: str = ""
    zone: str = ""

    def __str__(self) -> str:
        if not self.region and not self.zone:
            return "no zone"
        return (
            f"{self.region}/{self.zone}" if self.region and self.zone else self.region + self.zone
        )

    def distance(self, other: "Place") -> int:
        """How far it is: 0 for the same zone, 1 for the same region, 2 for any other."""
        if not self.region and not self.zone:
            return 2
        if self == other:
            return 0
        return 1 if self.region and self.region == other.region else 2


NOWHERE: Final = Place()
"""The place of an Envoy that does not say where it runs."""

Shares = Mapping[Place, Mapping[Place, float]]
"""By the zone where requests arise, the part of them for each zone; together 1."""


class ZoneInput(NamedTuple):
    """What is known of the zones of a pool.

    Attributes:
        places: Where each replica runs, by id.
        gone: Ids of those at which nobody listens.
        nodes: How many Envoys that use the pool run in each zone.
        come: Requests that have arisen so far, by class and zone. Only differences count.
        sizes: Bytes of a usual request of each zone, relative to all of the pool's.
    """

    places: Mapping[str, Place]
    gone: Collection[str]
    nodes: Mapping[Place, int]
    come: Mapping[tuple[str, Place], float]
    sizes: Mapping[Place, float]


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """What one class of requests is to do.

    Attributes:
        places: The zones that have Envoys or replicas.
        demand: Tokens per second that arise in each zone, by its index.
        capacity: Tokens per second that the replicas of each zone carry.
        flow: Tokens per second from each zone to each.
        told: What Envoys are told of that.
        is_counted: Whether `demand` was counted; otherwise each Envoy counts as much.
        is_measured: Whether `capacity` was measured; otherwise each replica counts as much.
    """

    places: tuple[Place, ...]
    demand: Floats
    capacity: Floats
    flow: Floats
    told: Shares
    is_counted: bool
    is_measured: bool


@dataclass(frozen=True, slots=True, eq=False)
class ZonePlan:
    """What all classes of a pool are to do.

    Attributes:
        by_class: By the class's name.
        nodes: See `ZoneInput`.
        come: Requests that had arisen by some times, oldest first.
        at: When it was made, seconds of a monotonic clock.
    """

    by_class: Mapping[str, Flows] = field(default_factory=dict)
    nodes: Mapping[Place, int] = field(default_factory=dict)
    come: tuple[tuple[float, Mapping[tuple[str, Place], float]], ...] = ()
    at: float = math.nan

    @property
    def told(self) -> Mapping[str, Shares]:
        """What Envoys are told, by the class's name."""
        return {name: each.told for name, each in self.by_class.items()}


def flows(
    demand: Floats, capacity: Floats, distance: Floats, target: Floats | float = TARGET
) -> Floats:
    """Send what arises in each zone where it can be carried, as near as possible.

    A zone keeps what arises in it up to a utilisation: the target, or that of the whole pool where
    it is higher. What is more goes to zones of the region with room, in proportion to both, and
    what is left to any zone in the same way.

    Args:
        demand: Tokens per second that arise in each zone.
        capacity: Tokens per second that the replicas of each zone carry.
        distance: See `Place.distance`, by both indices.
        target: Utilisation up to which a zone keeps what arises in it; of all, or of each.

    Returns:
        Tokens per second from each zone (row) to each; nothing where there is no capacity.
    """
    found = np.zeros((len(demand), len(demand)))
    total = math.fsum(capacity)
    if total <= 0:
        return found
    room = capacity * np.maximum(target, math.fsum(demand) / total)
    left = demand.astype(np.float64)
    for reach in (0, 1, 2):
        near = (distance <= reach).astype(np.float64)
        excess, spare = near @ left, near @ room
        sent = np.divide(left, excess, out=np.zeros_like(left), where=excess > 0)
        sent *= np.minimum(excess, spare)
        each = np.divide(1.0, spare, out=np.zeros_like(spare), where=spare > 0)
        step = near * sent[:, None] * each[:, None] * room[None, :]
        found += step
        left = np.maximum(left - step.sum(axis=1), 0.0)
        room = np.maximum(room - step.sum(axis=0), 0.0)
    return found


def planned(
    before: Flows | None,
    demand: Mapping[Place, float] | None,
    capacity: Mapping[Place, float],
    nodes: Mapping[Place, int],
    elapsed: float,
    *,
    is_measured: bool = True,
    targets: Mapping[Place, float] | None = None,
) -> Flows:
    """Decide where each zone sends the requests of one class.

    Args:
        before: The last decision; None for the first.
        demand: Tokens per second that arise in each zone; None: not counted, each Envoy counts as
            much.
        capacity: Tokens per second that the replicas of each zone carry.
        nodes: How many Envoys run in each zone.
        elapsed: Seconds since the last decision.
        is_measured: Whether capacities are tokens per second, and not only relative to each other.
        targets: Utilisation up to which each zone keeps what arises in it; `TARGET` of the others.
    """
    places = tuple(sorted({*capacity, *nodes, *(demand or ())}))
    carried = np.asarray([capacity.get(place, 0.0) for place in places])
    total = math.fsum(carried)
    arises = np.asarray([float(nodes.get(place, 0)) for place in places])
    if demand is not None:
        faded = math.exp(-elapsed / FADING) if before is not None and before.is_counted else 0.0
        known = dict(zip(before.places, before.demand, strict=True)) if before is not None else {}
        arises = np.asarray(
            [max(demand.get(place, 0.0), faded * known.get(place, 0.0)) for place in places]
        )
    is_counted = demand is not None and is_measured
    if not is_counted:
        arises = arises * TARGET * total / max(math.fsum(arises), _LITTLE)
    distance = np.asarray([[one.distance(other) for other in places] for one in places])
    target = np.asarray([(targets or {}).get(place, TARGET) for place in places])
    flow = flows(arises + _LITTLE * total, carried, distance, target)
    told = {
        place: _told(
            before.told.get(place) if before is not None else None,
            dict(zip(places, (row / row.sum()).tolist(), strict=True)),
        )
        for place, row in zip(places, flow, strict=True)
        if row.any()
    }
    return Flows(places, arises, carried, flow, told, is_counted, is_measured)


def _told(
    before: Mapping[Place, float] | None, parts: Mapping[Place, float]
) -> Mapping[Place, float]:
    """What the Envoys of a zone are told: the same as before where that is about as good."""
    wanted = {place: part for place, part in parts.items() if part > _NOTHING}
    if (
        before is not None
        and before.keys() <= wanted.keys()
        and max(abs(part - before.get(place, 0.0)) for place, part in wanted.items()) < DEAD_BAND
    ):
        return before
    rounded = {place: round(part / _GRAIN) * _GRAIN for place, part in wanted.items()}
    used = {place: part for place, part in rounded.items() if part > 0} or wanted
    whole = math.fsum(used.values())
    return {place: round(part / whole, 4) for place, part in used.items()}


def sentences(plan: ZonePlan, titles: Mapping[str, str]) -> tuple[str, ...]:
    """Say what arises in each zone, what its replicas carry, and what goes where.

    Args:
        plan: Of a pool.
        titles: Of its classes as people read them; empty where requests are not parted.
    """
    found = []
    for name, each in plan.by_class.items():
        of = f"Class {titles[name]}, zone" if name in titles else "Zone"
        for index, place in enumerate(each.places):
            words = []
            if (count := plan.nodes.get(place, 0)) or (each.is_counted and each.demand[index] > 0):
                envoys = f"{counted(count, 'Envoy')} send{'s' if count == 1 else ''}"
                words.append(f"{envoys} {_rate(each.demand[index], is_known=each.is_counted)}")
            words.append(
                f"its replicas carry {_rate(each.capacity[index], is_known=each.is_measured)}"
            )
            where = f"; {_where(each, place)}" if len(words) > 1 else ""
            found.append(f"{of} {place}: {', '.join(words)}{where}.")
        if not each.is_counted:
            found.append(
                "Until requests are counted and replicas measured, each Envoy and each replica of"
                " unknown capacity counts as much as any other."
            )
    return tuple(found)


def _rate(tokens: float, *, is_known: bool) -> str:
    return f"{number(float(tokens))} tokens/s" if is_known else "an unknown amount"


def _where(flows: Flows, here: Place) -> str:
    told = flows.told.get(here)
    if told is None:
        return "no zone can carry them, so Envoys send to the nearest"
    parts = [f"{percent(told[here])} stays"] if here in told else ["nothing stays"]
    parts += [f"{percent(part)} goes to {place}" for place, part in told.items() if place != here]
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else parts[0]


def plan_data(plan: ZonePlan | None) -> Any:
    """What outlives the control plane of a plan: what Envoys were told."""
    return (
        None
        if plan is None
        else [
            [name, *_words(here), *_words(there), part]
            for name, shares in plan.told.items()
            for here, parts in shares.items()
            for there, part in parts.items()
        ]
    )


def plan_of(data: Sequence[Any] | None) -> ZonePlan | None:
    """The plan that the data was made of, as far as Envoys were told."""
    if data is None:
        return None
    told: dict[str, dict[Place, dict[Place, float]]] = {}
    for name, *words, part in data:
        here, there = Place(*words[:2]), Place(*words[2:])
        told.setdefault(name, {}).setdefault(here, {})[there] = float(part)
    nothing = np.zeros(0)
    return ZonePlan(
        {
            name: Flows(
                (), nothing, nothing, np.zeros((0, 0)), shares, is_counted=False, is_measured=False
            )
            for name, shares in told.items()
        }
    )


def _words(place: Place) -> tuple[str, str]:
    return place.region, place.zone
