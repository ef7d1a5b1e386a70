"""Traffic leans from tiers whose lines are long to those whose lines are short.

Shares follow from what replicas can carry, which is right over many requests. Near saturation that
is not enough: long requests come in bunches, and a part of the work that is known to a few per cent
sends one side more than it can do for as long as nobody looks. A line is what has come too much so
far, so it is what is given back: over some seconds each tier gets less by as much as it has in line
more than the pool, and more where it has less,

    1 + (w - w_tier) / horizon

with w in seconds of work in line. That is proportional control of an integrator: stable as long as
the horizon is about twice the time after which a line is seen and traffic has changed, which does
not depend on the load. Weights that follow latency would be flooded and starved in turn, because a
latency tells of a line only when it is over.
"""

import math
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from controlplane.weighing.damping import clamped
from controlplane.weighing.explanation import Step, duration

MOST: Final = 0.5
"""Part of its traffic that a tier may get more or less: whoever counts may be wrong."""
LEAST: Final = 0.05
"""Smallest change of that part that is worth telling Envoys, who rebuild their load balancers."""


class Lean(NamedTuple):
    """What a tier gets of its share for now.

    Attributes:
        factor: Near 1.
        line: Seconds of work in line at its replicas.
        usual: In the pool.
    """

    factor: float
    line: float
    usual: float

    def of(self, share: float) -> float:
        """What is left of a share relative to the median, within the limits of all shares."""
        return clamped(share * self.factor)

    def step(self, share: float) -> Step:
        """What to tell of a replica whose tier has this share."""
        return Step("lean", share, self.of(share), _words, (self.line, self.usual))


def _words(line: float, usual: float) -> str:
    return f"its tier has {duration(line)} of work in line, the pool {duration(usual)}"


def leans(
    before: Mapping[str, Lean],
    tiers: Mapping[str, str],
    shares: Mapping[str, float],
    lines: Mapping[str, float],
    seconds: float,
) -> dict[str, Lean]:
    """How tiers lean, by name; one that is not there gets its share.

    Args:
        before: The last ones.
        tiers: That each replica is in, by id.
        shares: Of each, relative to the others.
        lines: Seconds of work in line, by id, of those that count.
        seconds: In which differences are to be gone, by `lines.horizon`.
    """
    members: dict[str, list[str]] = {}
    for id_ in lines:
        members.setdefault(tiers[id_], []).append(id_)
    if len(members) < 2:
        return {}
    usual, found = _mean(shares, lines, lines), {}
    for name, ids in members.items():
        line = _mean(shares, lines, ids)
        wanted = min(max(1 + (usual - line) / seconds, 1 - MOST), 1 + MOST)
        old = before.get(name)
        # Two limits, so that one that hovers about the first does not come and go.
        if abs(wanted - 1) < (LEAST if old is None else LEAST / 2):
            continue
        is_noise = old is not None and abs(wanted - old.factor) < LEAST
        found[name] = old if old is not None and is_noise else Lean(wanted, line, usual)
    return found


def leaned(
    shares: Mapping[str, float], tiers: Mapping[str, str], leans: Mapping[str, Lean]
) -> dict[str, float]:
    """Shares with what their tiers get of them for now, by id."""
    return {
        id_: leans[tiers[id_]].of(share) if tiers[id_] in leans else share
        for id_, share in shares.items()
    }


def _mean(shares: Mapping[str, float], lines: Mapping[str, float], ids: Collection[str]) -> float:
    """Each counts as much as it gets: a line at one that gets next to nothing is of no matter."""
    total = math.fsum(shares[id_] for id_ in ids)
    return math.fsum(shares[id_] * lines[id_] for id_ in ids) / total
