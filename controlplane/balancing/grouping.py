"""The stage that takes replicas together whose capacities cannot be told apart.

Two replicas of one kind are two measurements of one number, and their mean is a better one; each by
itself would wander in and out of tiers.
"""

import math
from typing import Final

import numpy as np

from controlplane.balancing.frame import Frame
from controlplane.balancing.records import SPREAD, UNLIKE

APART: Final = 2.5
"""Standard errors between two groups that are of one kind by chance once in eighty times."""
WIDEST: Final = math.log(1.5)
"""Logarithm of the factor beyond which replicas are never of one kind, however little is known."""
SETTLED: Final = 50.0
"""Requests after a fall from which on a replica is compared with others: one that was just seen to
be slower is not to be lifted by those that are like it as far as a few requests can tell."""


def grouping(frame: Frame) -> None:
    """Give like replicas the mean of their capacities, each counting as much as it is certain."""
    records = frame.state.records
    fell = (records.factor < 1) & ~np.isnan(records.changed_at)
    known = frame.ready & (frame.worth >= np.where(fell, SETTLED, 1.0)) & ~np.isnan(frame.measured)
    rows = np.flatnonzero(known)
    logs = np.log(frame.mixed[rows])
    variances = SPREAD**2 / np.maximum(frame.worth[rows], 1e-9) + UNLIKE**2
    order = np.lexsort((rows, logs))
    groups: list[tuple[float, float, list[int]]] = []
    for at in order:
        log, variance = float(logs[at]), float(variances[at])
        if groups:
            mean, of_mean, members = groups[-1]
            if log - mean <= min(APART * math.sqrt(variance + of_mean), WIDEST):
                weight = 1 / variance + 1 / of_mean
                mean = (log / variance + mean / of_mean) / weight
                members.append(int(rows[at]))
                groups[-1] = (mean, 1 / weight, members)
                continue
        groups.append((log, variance, [int(rows[at])]))
    frame.alike = np.ones(frame.size, np.int64)
    found = frame.mixed.copy()
    for mean, _, members in groups:
        if len(members) > 1:
            found[members] = math.exp(mean)
            frame.alike[members] = len(members)
    frame.mixed = found
