"""A plane with two replicas whose readings a test makes up, for tests of what is kept of them."""

from dataclasses import replace

from controlplane.config import ReplicaSettings
from controlplane.fleet import PutPool, PutReplica
from controlplane.plane import HistoryItem, Plane, Probe, Target
from controlplane.telemetry import GpuMemory, Histogram, Reading
from tests.plane.pools import SETTINGS

BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.5, 1.0, float("inf"))
STEP = 0.5
"""Seconds between two decisions."""


class Watched:
    """Replicas a and b, of which each has one slot and is asked for 20 requests a second."""

    def __init__(self) -> None:
        self.plane = Plane(0.0)
        self.now = 0.0
        self.latency = {"a": 0.01, "b": 0.01}
        self.queue = {"a": 0.0, "b": 0.0}
        self.memory = {"a": 0.5, "b": 0.5}
        self.silent: set[str] = set()
        self._requests = {"a": 0.0, "b": 0.0}
        self._total = {"a": 0.0, "b": 0.0}
        self._counts = {id_: [0.0] * len(BOUNDS) for id_ in ("a", "b")}
        self.plane.apply(PutPool("m", SETTINGS), 0.0)
        for id_, port in (("a", 81), ("b", 82)):
            self.put(id_, port)

    def put(self, id_: str, port: int) -> None:
        settings = ReplicaSettings.model_validate({"address": f"10.0.0.1:{port}"})
        self.plane.apply(PutReplica("m", id_, settings), self.now)
        self.plane.probed(self.target(id_), Probe.HEALTHY, self.now)

    def target(self, id_: str) -> Target:
        found = self.plane.target("m", id_)
        assert found is not None
        return found

    def restart(self, id_: str) -> None:
        """Its counters begin anew."""
        self._total[id_], self._counts[id_] = 0.0, [0.0] * len(BOUNDS)

    def go(self, seconds: float, *, step: float = STEP) -> "Watched":
        """Scrape and decide for so long."""
        for _ in range(round(seconds / step)):
            self.now += step
            for id_ in ("a", "b"):
                if id_ not in self.silent and self.plane.target("m", id_):
                    self.plane.record(self.target(id_), self._reading(id_, 20 * step), self.now)
            self.plane.decide(self.now)
        return self

    def _reading(self, id_: str, requests: float) -> Reading:
        latency, counts = self.latency[id_], self._counts[id_]
        self._total[id_] += requests * latency
        for index, bound in enumerate(BOUNDS):
            counts[index] += requests if latency <= bound else 0.0
        reading = Reading(self.now, Histogram(BOUNDS, tuple(counts), self._total[id_]))
        memory = (GpuMemory(f"GPU-{id_}", self.memory[id_] * 8e9, 8e9),)
        return replace(reading, queue=self.queue[id_], memory=memory)

    def told(self, id_: str = "a", since: float = 3600.0) -> tuple[HistoryItem, ...]:
        return self.plane.histories.of("m", id_, self.now, since)
