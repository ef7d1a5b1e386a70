"""The horizontal pod autoscaler of Kubernetes, with its defaults.

From kubernetes/kubernetes, pkg/controller/podautoscaler: replica_calculator.go (ratio, tolerance,
pods that are not ready) and horizontal.go (policies, stabilisation).
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

SYNC: Final = 15.0
"""Seconds between two looks (--horizontal-pod-autoscaler-sync-period)."""
TOLERANCE: Final = 0.1
"""Of the ratio (--horizontal-pod-autoscaler-tolerance)."""
STABILIZATION: Final = 300.0
"""Seconds (--horizontal-pod-autoscaler-downscale-stabilization)."""
GROWTH: Final = 2.0
"""At most as many again in a period of 15 s (scaleUp.policies, Percent 100)."""
METRIC_WINDOW: Final = 30.0
"""Seconds that a pod's CPU is averaged over by the metrics server."""


class Pods(NamedTuple):
    """What a look sees.

    Attributes:
        total: Pods that exist.
        usages: CPU of those that have been ready for a whole window, as a part of their request.
        unready: How many are not ready, or for less than that.
    """

    total: int
    usages: Sequence[float]
    unready: int


def by_utilization(pods: Pods, target: float) -> int:
    """Replicas wanted by CPU, see `GetResourceReplicas`."""
    if not pods.usages:
        return pods.total
    ratio = sum(pods.usages) / len(pods.usages) / target
    if pods.unready == 0 or ratio <= 1:
        return pods.total if abs(1 - ratio) <= TOLERANCE else _ceil(ratio * len(pods.usages))
    # What is not ready counts as idle where more would be wanted.
    many = len(pods.usages) + pods.unready
    again = sum(pods.usages) / many / target
    if abs(1 - again) <= TOLERANCE or again < 1:
        return pods.total
    return max(_ceil(again * many), pods.total)


def by_average_value(count: int, total: float, target: float) -> int:
    """Replicas wanted by an external metric, see `GetExternalPerPodMetricReplicas`."""
    if abs(1 - total / (target * count)) <= TOLERANCE:
        return count
    return _ceil(total / target)


def _ceil(value: float) -> int:
    # Kubernetes counts in thousandths.
    return math.ceil(round(value, 6))


class Hpa:
    """Turns what a metric asks for into a number of pods."""

    def __init__(
        self,
        wanted: Callable[[], int],
        *,
        least: int = 1,
        most: int = 40,
        stabilization: float = STABILIZATION,
        growth: float = GROWTH,
    ) -> None:
        """Prepare.

        Args:
            wanted: What the metric asks for.
            least: ``minReplicas``.
            most: ``maxReplicas``.
            stabilization: ``behavior.scaleDown.stabilizationWindowSeconds``.
            growth: How many times as many pods there may be after a period of 15 s.
        """
        self._wanted, self._least, self._most = wanted, least, most
        self._stabilization, self._growth = stabilization, growth
        self._recommendations: deque[tuple[float, int]] = deque()

    def desired(self, count: int, now: float) -> int:
        """How many pods there are to be."""
        found, kept = self._wanted(), self._recommendations
        if not kept:
            kept.append((now, count))
        kept.append((now, found))
        while kept and kept[0][0] < now - self._stabilization:
            kept.popleft()
        if found < count:
            found = min(max(item for _, item in kept), count)
        # Or four more, by default.
        found = min(found, max(int(self._growth * count), count + 4))
        return min(max(found, self._least), self._most)
