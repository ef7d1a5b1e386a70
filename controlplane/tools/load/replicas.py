"""What each replica got and did during a step: what others show in, facts out. Pure.

Envoy does not say who answered a request. Its counters, the control plane's readings, and a header
of the replicas' own, where they have one, each tell a part.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.tools.load.envoy_stats import Host, grown
from controlplane.tools.load.record import Series
from controlplane.tools.load.standing import Standing

FEW: Final = 20
"""Requests below which a mean says nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A replica during a step; None for what nobody told.

    Attributes:
        share: Its part of the requests, 0 to 1.
        rate: Requests per second that it got.
        capacity: Requests per second that it can carry, as the control plane estimates.
        given: The part of the traffic that its weight gives it.
        latency: Seconds of a request on average: as answered here, by Envoy's count of requests in
            flight (Little's law) where that was not nearly always 0, or by its own metrics.
        in_flight: Requests that it had not answered, on average.
        queue: Requests that waited inside of it, by its own metrics.
    """

    id: str
    share: float | None = None
    rate: float | None = None
    capacity: float | None = None
    given: float | None = None
    latency: float | None = None
    in_flight: float | None = None
    queue: float | None = None

    @property
    def load(self) -> float | None:
        """What it got as a part of what it can carry."""
        return self.rate / self.capacity if self.rate is not None and self.capacity else None


@dataclass(slots=True)
class StepWatch:
    """What Envoys and the control plane showed during a step.

    Attributes:
        requests: That the Envoys have sent to each replica since the first look.
        standings: Of each replica, at the last look that had an answer.
    """

    requests: Counter[str] = field(default_factory=Counter)
    standings: dict[str, Standing] = field(default_factory=dict)
    _first: float | None = None
    _until: float = 0.0
    _looks: int = 0
    _active: Counter[str] = field(default_factory=Counter)
    _last: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(
        self,
        at: float,
        envoys: Mapping[str, Mapping[str, Host]],
        standings: Mapping[str, Standing],
    ) -> None:
        """Take in a look; Envoys that did not answer are left out.

        Args:
            at: Seconds of any clock.
            envoys: What each Envoy shows of each replica.
            standings: What the control plane says of each.
        """
        self.standings |= standings
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

    def seen(self, named: Mapping[str, Series], seconds: float) -> tuple[Seen, ...]:
        """Put together what is known of each replica, in the order of their ids.

        Args:
            named: Answers by the replica that they name, where they do.
            seconds: Over which those were counted.
        """
        ids = sorted({*named, *self.requests, *self.standings})
        rates = self._rates(named, seconds)
        total = sum(rates.values())
        return tuple(self._one(id_, rates.get(id_), total, named.get(id_)) for id_ in ids)

    def _rates(self, named: Mapping[str, Series], seconds: float) -> dict[str, float]:
        if named:
            return {id_: series.requests / seconds for id_, series in named.items()}
        if self._first is not None and self._until > self._first:
            length = self._until - self._first
            return {id_: count / length for id_, count in self.requests.items()}
        return {id_: it.rate for id_, it in self.standings.items() if it.rate is not None}

    def _one(self, id_: str, rate: float | None, total: float, named: Series | None) -> Seen:
        standing = self.standings.get(id_, Standing())
        counted = id_ in self.requests
        active = self._active[id_] / self._looks if counted else standing.in_flight
        latency = standing.latency
        # A few sightings of requests in flight say less than what the replica itself measured.
        is_busy = self._active[id_] >= FEW or latency is None
        if named is not None:
            latency = named.service.mean
        elif counted and is_busy and rate and active is not None and self.requests[id_] >= FEW:
            latency = active / rate
        return Seen(
            id=id_,
            share=rate / total if rate is not None and total else None,
            rate=rate,
            capacity=standing.capacity,
            given=standing.share,
            latency=latency,
            in_flight=active,
            queue=standing.queue,
        )
