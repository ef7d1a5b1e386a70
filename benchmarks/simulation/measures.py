"""From runs to figures: percentiles, ratios to the best peer, and how still the weights were."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from controlplane.load.percentiles import nearest_rank
from controlplane.weighing import Weighing


@dataclass(frozen=True, slots=True)
class Stillness:
    """How still weights were in the time that counts.

    Attributes:
        pushes: Changes that Envoys were told of, per minute.
        moves: Replicas that changed their tier, per minute.
        split: Part of the time in which replicas of one speed were in different tiers.
        error: Root mean square of how far a share is off, as a part of the true one.
    """

    pushes: float
    moves: float
    split: float
    error: float


@dataclass(frozen=True, slots=True)
class Run:
    """One contender once.

    Attributes:
        p50: Milliseconds.
        p99: Milliseconds.
        stillness: None of a contender without weights.
    """

    p50: float
    p99: float
    stillness: Stillness | None


def run_of(latencies: Sequence[float], stillness: Stillness | None) -> Run:
    """Summarize latencies in seconds."""
    return Run(nearest_rank(latencies, 0.5) * 1e3, nearest_rank(latencies, 0.99) * 1e3, stillness)


def stillness_of(weighings: Sequence[Weighing], speeds: Sequence[float], since: float) -> Stillness:
    """Judge the weighings from some time on against the true speeds."""
    counted = [weighing for weighing in weighings if weighing.at >= since]
    minutes = (counted[-1].at - counted[0].at) / 60
    told = [
        tuple((id_, it.tier, it.weight, it.drained) for id_, it in weighing.replicas.items())
        for weighing in counted
    ]
    moves = sum(
        old.replicas[id_].tier != it.tier
        for old, new in pairwise(counted)
        for id_, it in new.replicas.items()
        if id_ in old.replicas
    )
    split, errors = 0, []
    for weighing in counted:
        tiers: dict[float, set[str]] = {}
        fair = sum(speeds[int(id_)] for id_ in weighing.replicas)
        for id_, it in weighing.replicas.items():
            tiers.setdefault(speeds[int(id_)], set()).add(it.tier)
            assert it.share is not None, "its policy has weights"
            errors.append((it.share / (speeds[int(id_)] / fair) - 1) ** 2)
        split += any(len(found) > 1 for found in tiers.values())
    return Stillness(
        pushes=sum(old != new for old, new in pairwise(told)) / minutes,
        moves=moves / minutes,
        split=split / len(counted),
        error=(sum(errors) / len(errors)) ** 0.5,
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest and highest of the ratios of runs with the same seeds."""
    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return median(found), min(found), max(found)
