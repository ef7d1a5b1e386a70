"""Combine what is known of each replica during a step: its requests, latency and capacity. Pure.

Envoy does not say which replica answered a request. Envoy's counters, the control plane's readings,
and a header of the replicas, where they send one, each show a part.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.api.schema import Replica
from controlplane.tools.load.envoy import Host, grown
from controlplane.tools.load.record import Series

FEW: Final = 20
"""Requests below which a mean says nothing."""


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """A replica during a step; None for unknown.

    Attributes:
        share: Its part of the requests, 0 to 1.
        rate: Requests per second that it got.
        capacity: Requests per second that it can carry, as the control plane estimates.
        given: The part of the traffic that its weight gives it.
        latency: Seconds of a request on average: of answers that name the replica, else by Envoy's
            count of requests in flight (Little's law) where that was not nearly always 0, else by
            the replica's own metrics.
    """

    id: str
    share: float | None = None
    rate: float | None = None
    capacity: float | None = None
    capacity_tokens: float | None = None
    given: float | None = None
    latency: float | None = None
    in_flight: float | None = None
    queue: float | None = None

    @property
    def load(self) -> float | None:
        """Its rate as a part of its capacity."""
        return self.rate / self.capacity if self.rate is not None and self.capacity else None


@dataclass(slots=True)
class StepWatch:
    """What Envoys and the control plane showed during a step.

    Attributes:
        requests: That the Envoys have sent to each replica since the first look.
        reported: The replicas as the control plane shows them.
    """

    requests: Counter[str] = field(default_factory=Counter)
    reported: dict[str, Replica] = field(default_factory=dict)
    _first: float | None = None
    _until: float = 0.0
    _looks: int = 0
    _active: Counter[str] = field(default_factory=Counter)
    _last: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(
        self,
        at: float,
        envoys: Mapping[str, Mapping[str, Host]],
        reported: Mapping[str, Replica],
    ) -> None:
        """Add a look; Envoys that did not answer are left out."""
        self.reported |= reported
        if not envoys:
            return
        for envoy, hosts in envoys.items():
            counts = {id_: host.requests for id_, host in hosts.items()}
            if envoy in self._last:
                self.requests.update(grown(self._last[envoy], counts))
            self._last[envoy] = counts
            self._active.update({id_: host.active + host.pending for id_, host in hosts.items()})
        self._looks += 1
        self._first = at if self._first is None else self._first
        self._until = at

    def seen(self, named: Mapping[str, Series], seconds: float) -> tuple[ReplicaLoad, ...]:
        """Combine what is known of each replica; `named` was counted over so many seconds."""
        ids = sorted({*named, *self.requests, *self.reported})
        rates = self._rates(named, seconds)
        total = sum(rates.values())
        return tuple(self._one(id_, rates.get(id_), total, named.get(id_)) for id_ in ids)

    def _rates(self, named: Mapping[str, Series], seconds: float) -> dict[str, float]:
        if named:
            return {id_: series.requests / seconds for id_, series in named.items()}
        if self._first is not None and self._until > self._first:
            length = self._until - self._first
            return {id_: count / length for id_, count in self.requests.items()}
        rates = {id_: each.reading("rate_rps") for id_, each in self.reported.items()}
        return {id_: rate for id_, rate in rates.items() if rate is not None}

    def _one(self, id_: str, rate: float | None, total: float, named: Series | None) -> ReplicaLoad:
        known, counted = self.reported.get(id_), id_ in self.requests
        active = self._active[id_] / self._looks if counted else _reading(known, "in_flight")
        mean_ms = _reading(known, "latency_mean_ms")
        latency = None if mean_ms is None else mean_ms / 1000
        # A few sightings of requests in flight are worth less than the replica's own measurement.
        is_busy = self._active[id_] >= FEW or latency is None
        if named is not None:
            latency = named.service.mean
        elif counted and is_busy and rate and active is not None and self.requests[id_] >= FEW:
            latency = active / rate
        return ReplicaLoad(
            id=id_,
            share=rate / total if rate is not None and total else None,
            rate=rate,
            capacity=getattr(known, "capacity", None),
            capacity_tokens=getattr(known, "capacity_tokens", None),
            given=getattr(known, "share", None),
            latency=latency,
            in_flight=active,
            queue=_reading(known, "queue"),
        )


def _reading(replica: Replica | None, name: str) -> float | None:
    return None if replica is None else replica.reading(name)
