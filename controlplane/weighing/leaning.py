"""Traffic leans from tiers whose lines are long to those whose lines are short.

Shares follow from what replicas can carry, which is right over many requests. Near saturation that
is not enough: long requests come in bunches, and a part of the work that is known to a few per cent
sends one side more than it can do for as long as nobody looks. A line is what has come too much so
far, so it is what is given back: over the next `HORIZON` intervals each tier gets less by as much
as it has in line more than the pool, and more where it has less,

    1 + (w - w_tier) / horizon

with w in seconds of work in line. That is proportional control of an integrator: stable as long as
the horizon is about twice the time after which a line is seen and traffic has changed, which does
not depend on the load. Weights that follow latency would be flooded and starved in turn, because a
latency tells of a line only when it is over.
"""

import math
from collections.abc import Collection, Mapping
from typing import Final

from controlplane.signals.reporting import report_interval
from controlplane.weighing import lengths
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.damping import clamped
from controlplane.weighing.explanation import Step, duration
from controlplane.weighing.replica import ReplicaInput
from controlplane.weighing.veto import OWN, InFlight

HORIZON: Final = 2.0
"""Intervals between two readings of lines in which a difference between them is to be gone."""
MOST: Final = 0.5
"""Part of its traffic that a tier may get more or less: whoever counts may be wrong."""
LEAST: Final = 0.05
"""Smallest change of that part that is worth telling Envoys, who rebuild their load balancers."""


def horizon(replicas: Mapping[str, ReplicaInput], interval: float, envoys: int | None) -> float:
    """Seconds in which a difference between lines is to be gone.

    Args:
        replicas: Of the pool.
        interval: Seconds between two scrapes.
        envoys: How many report; None where that is not known.
    """
    if all(any(it.source == OWN for it in each.in_flight) for each in replicas.values()):
        return HORIZON * interval
    return HORIZON * max(interval, report_interval(envoys or 1, len(replicas)))


def waits(
    replicas: Mapping[str, ReplicaInput], known: Capacities, ids: Collection[str], oldest: float
) -> dict[str, float]:
    """Seconds of work in line, by id, of those of whom it is known.

    Args:
        replicas: Of the pool.
        known: What each can carry.
        ids: Of those that are asked for.
        oldest: Counts from before that say nothing about now, seconds of a monotonic clock.
    """
    found = {}
    for id_ in ids:
        replica = replicas[id_]
        count = _count(replica.in_flight, oldest)
        if count is None:
            continue
        recent = lengths.lately(replica.window) if replica.window is not None else None
        times = recent[0] / known.tokens if recent is not None and known.tokens else 1.0
        line = max(count.requests - known.slots[id_], 0.0)
        found[id_] = line * times / known.carried[id_]
    return found


def _count(counts: tuple[InFlight, ...], oldest: float) -> InFlight | None:
    """By itself where it counts, else by Envoys: these forget what they sent to another tier."""
    recent = [count for count in counts if count.at >= oldest]
    return min(recent, key=lambda count: count.source != OWN, default=None)


def leans(
    before: Mapping[str, float],
    tiers: Mapping[str, str],
    shares: Mapping[str, float],
    lines: Mapping[str, float],
    seconds: float,
    steps: Mapping[str, list[Step]],
) -> dict[str, float]:
    """What each tier gets of its share for now, a factor near 1, by name; others get all of it.

    Args:
        before: The last ones.
        tiers: That each replica is in, by id.
        shares: Of each, relative to the others.
        lines: Seconds of work in line, by id, of those that count.
        seconds: In which differences are to be gone, by `horizon`.
        steps: Takes what there is to tell, by id.
    """
    members: dict[str, list[str]] = {}
    for id_ in lines:
        members.setdefault(tiers[id_], []).append(id_)
    if len(members) < 2:
        return {}
    wait = {name: _mean(shares, lines, ids) for name, ids in members.items()}
    usual = _mean(shares, lines, lines)
    found = {}
    for name, ids in members.items():
        wanted = min(max(1 + (usual - wait[name]) / seconds, 1 - MOST), 1 + MOST)
        old = before.get(name, 1.0)
        if abs(wanted - 1) < LEAST / 2:
            wanted = 1.0
        found[name] = old if wanted != 1 and abs(wanted - old) < LEAST else wanted
        if found[name] == 1:
            continue
        for id_ in ids:
            facts = (wait[name], usual)
            after = clamped(shares[id_] * found[name])
            steps[id_].append(Step("lean", shares[id_], after, _words, facts))
    return found


def leaned(
    shares: Mapping[str, float], tiers: Mapping[str, str], leans: Mapping[str, float]
) -> dict[str, float]:
    """Shares with what their tiers get of them for now, by id."""
    return {id_: clamped(share * leans.get(tiers[id_], 1.0)) for id_, share in shares.items()}


def _mean(shares: Mapping[str, float], lines: Mapping[str, float], ids: Collection[str]) -> float:
    """Each counts as much as it gets: a line at one that gets next to nothing is of no matter."""
    total = math.fsum(shares[id_] for id_ in ids)
    return math.fsum(shares[id_] * lines[id_] for id_ in ids) / total


def _words(wait: float, usual: float) -> str:
    return f"its tier has {duration(wait)} of work in line, the pool {duration(usual)}"
