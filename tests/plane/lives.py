"""Replicas that are measured for a while, and a control plane that is restarted meanwhile."""

import json
import math
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

from controlplane.balancing.restart import pool_data, replica_data
from controlplane.config import Config, load_config
from controlplane.fleet import registered, restored, whole
from controlplane.plane import Plane, Probe, RestartPool, RestartReplica, Target
from controlplane.resources.catalog import Catalog
from controlplane.resources.resource import CLUSTER, ENDPOINT, ROUTE
from controlplane.resources.views import View
from controlplane.telemetry import Histogram, Reading
from controlplane.telemetry.load import drained
from controlplane.telemetry.sizes import Sample
from tests.planes import declare

CONFIG = load_config(
    """
pools:
  - name: m
    model: x
    listener: {address: "127.0.0.1:10000"}
    objective: {p99: 20ms}
    replicas:
      - {id: fast, address: "127.0.0.1:9001"}
      - {id: same, address: "127.0.0.1:9002"}
      - {id: slow, address: "127.0.0.1:9003"}
""",
    "plimsoll.yaml",
)
SECONDS = {"fast": 0.005, "same": 0.005, "slow": 0.05}


def target(plane: Plane, id_: str) -> Target:
    found = plane.target("m", id_)
    assert found is not None
    return found


def reading(at: float, count: float, seconds: float, tokens: float | None = None) -> Reading:
    """Of a replica that has ended so many requests, each of so many seconds and tokens."""
    bounds = (0.01, 0.1, 1.0, math.inf)
    counts = tuple(count if seconds <= bound else 0.0 for bound in bounds)
    histogram = Histogram(bounds, counts, count * seconds)
    counted = None if tokens is None else count * tokens
    return Reading(at=at, latency=histogram, tokens=counted)


class Life:
    """A plane, and replicas whose counters go on whoever reads them."""

    def __init__(self, plane: Plane, now: float, tokens: float | None = None) -> None:
        self.plane, self.now, self.catalog, self.tokens = plane, now, Catalog(), tokens
        self.sizes: tuple[int, ...] = ()

    def live(self, seconds: float, counted: Callable[[float], float], ids: str = "") -> None:
        """Scrape twice a second."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.5
            for id_ in ids.split() or SECONDS:
                self.plane.probed(target(self.plane, id_), Probe.HEALTHY, self.now)
                seen = reading(self.now, counted(self.now), SECONDS[id_], self.tokens)
                self.plane.record(target(self.plane, id_), seen, self.now)
            of = (Sample("m", "", "127.0.0.1", 9001, size, 0.1, 200) for size in self.sizes)
            self.plane.sampled([*of], self.now)
            self.catalog = self.plane.decide(self.now)
            drained(self.plane.sizing(self.now))

    @property
    def version(self) -> str:
        return self.versions()[ENDPOINT, "m"]

    def versions(self) -> dict[tuple[str, str], str]:
        """Of what Envoys hold, by type and name."""
        view = self.catalog.view(View())
        return {
            (url, name): item.version
            for url in (CLUSTER, ENDPOINT, ROUTE)
            for name, item in view.type(url).items()
        }

    def weights(self) -> dict[str, tuple[str, int]]:
        decision = self.plane.decision("m")
        assert decision is not None
        return {id_: (replica.tier, replica.weight) for id_, replica in decision.replicas.items()}

    def capacities(self) -> dict[str, float]:
        decision = self.plane.decision("m")
        assert decision is not None
        return {id_: replica.capacity or 0.0 for id_, replica in decision.replicas.items()}


def steadily(now: float) -> float:
    """Requests by a time."""
    return now * 20


SIZES = (400,) * 19 + (20_000,)
"""Bytes of requests of two classes: searches and bulk."""


@cache
def _measured(tokens: float | None, sizes: tuple[int, ...]) -> Life:
    life = Life(Plane(0.0), 0.0, tokens)
    life.sizes = sizes
    declare(life.plane, CONFIG, 0.0)
    life.live(60, steadily)
    return life


def measured(tokens: float | None = None, sizes: tuple[int, ...] = ()) -> Life:
    """A plane that has measured its replicas for a minute; whoever asks may change it."""
    return deepcopy(_measured(tokens, sizes))


def kept(life: Life) -> dict[str, RestartPool]:
    """What of it is kept, once through JSON."""
    decision, known = life.plane.decision("m"), life.plane.restart_state("m")
    assert decision is not None
    data: dict[str, Any] = {
        id_: RestartReplica(*known[id_], json.loads(json.dumps(replica_data(decision, id_))))
        for id_ in decision.rows
    }
    return {"m": RestartPool(12.0, json.loads(json.dumps(pool_data(decision))), data)}


def restarted(life: Life, config: Config = CONFIG, now: float = 1000.0) -> Life:
    plane = Plane(now)
    plane.adopt(whole(restored(registered(life.plane.fleet), config, now)), now)
    plane.restore(kept(life), now)
    return Life(plane, now, life.tokens)
