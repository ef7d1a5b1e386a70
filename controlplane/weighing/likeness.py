"""Which replicas are of one kind: those whose capacities cannot be told apart are taken together.

In come estimates with what chance may do to each; out come capacities that are exactly equal where
nothing says that they differ. Two replicas of one kind are two measurements of one number, and
their mean is a better one; each by itself would wander in and out of tiers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from controlplane.weighing.explanation import Step, counted, number

APART: Final = 2.5
"""Standard errors between two groups that were of one kind by chance once in eighty times."""
STILL_TOGETHER: Final = 4.0
"""Standard errors at which a replica leaves its kind. More than the other, so that none comes and
goes by chance."""
WIDEST: Final = math.log(1.5)
"""Logarithm of the factor beyond which replicas are never of one kind, however little is known."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A capacity of one replica.

    Attributes:
        log: Its logarithm.
        variance: Of that.
        kind: The name of the group that it was in; None if in none.
    """

    log: float
    variance: float
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """Replicas that are taken together.

    Attributes:
        name: The first of their ids.
        size: How many they are.
        log: The mean of their capacities' logarithms, each counting as much as it is certain.
        variance: Of that mean.
    """

    name: str
    size: int
    log: float
    variance: float


def kinds(measured: Mapping[str, Measured]) -> dict[str, Kind]:
    """Group replicas by capacity.

    Those that were together stay so until one is clearly off; then groups are joined from the
    slowest up while the next one cannot be told apart.

    Returns:
        The kind of each, by id.
    """
    together: dict[str, list[str]] = {}
    alone = []
    for id_, one in sorted(measured.items()):
        if one.kind is None:
            alone.append([id_])
        else:
            together.setdefault(one.kind, []).append(id_)
    groups = [part for group in together.values() for part in _parted(group, measured)] + alone
    found: list[tuple[Kind, list[list[str]]]] = []
    candidates = [(_kind(group, measured), group) for group in groups]
    for kind, group in sorted(candidates, key=lambda each: (each[0].log, each[0].name)):
        if found and _are_near(found[-1][0], kind, APART):
            so_far, joined = found[-1]
            joined.append(group)
            found[-1] = (_joined(so_far, kind), joined)
        else:
            found.append((kind, [group]))
    named = {}
    for kind, joined in found:
        group = [id_ for each in joined for id_ in each]
        # From all at once, so that it is the same however they came together.
        whole = kind if len(joined) == 1 else _kind(sorted(group), measured)
        named.update(dict.fromkeys(group, whole))
    return named


def _parted(group: Sequence[str], measured: Mapping[str, Measured]) -> list[list[str]]:
    """Those that still go together, and each one that does not any more."""
    if len(group) == 1:
        return [list(group)]
    # The median, which one that has changed cannot pull along. Of two it would be between them.
    logs = sorted(measured[id_].log for id_ in group)
    middle = median(logs)
    kept, parted = [], []
    for id_ in group:
        one = measured[id_]
        other = logs[0] + logs[1] - one.log if len(group) == 2 else middle
        rest = Kind("", 1, other, one.variance / (len(group) - 1))
        if _are_near(Kind(id_, 1, one.log, one.variance), rest, STILL_TOGETHER):
            kept.append(id_)
        else:
            parted.append([id_])
    return [kept, *parted] if kept else parted


def _are_near(one: Kind, other: Kind, errors: float) -> bool:
    difference = abs(one.log - other.log)
    return difference <= min(errors * math.sqrt(one.variance + other.variance), WIDEST)


def _joined(one: Kind, other: Kind) -> Kind:
    """Two groups taken together, without a look at their members again."""
    total = 1 / one.variance + 1 / other.variance
    log = (one.log / one.variance + other.log / other.variance) / total
    return Kind(min(one.name, other.name), one.size + other.size, log, 1 / total)


def _kind(group: Sequence[str], measured: Mapping[str, Measured]) -> Kind:
    if len(group) == 1:
        return Kind(group[0], 1, measured[group[0]].log, measured[group[0]].variance)
    weights = [1 / measured[id_].variance for id_ in group]
    total = math.fsum(weights)
    # fsum: the same to the last bit in whatever order the replicas come.
    logs = (weight * measured[id_].log for weight, id_ in zip(weights, group, strict=True))
    return Kind(min(group), len(group), math.fsum(logs) / total, 1 / total)


def kind_step(kind: Kind, before: float, after: float) -> Step:
    """What to tell about a replica that is of a kind with others."""
    return Step("kind", before, after, _alike, (kind.size - 1, after))


def _alike(others: int, each: float) -> str:
    words = f"cannot be told apart from {counted(others, 'other')}: together they are taken"
    return f"{words} for {number(each)} requests/s each"
