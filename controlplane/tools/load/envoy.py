"""Read what Envoy's admin interface shows: requests by replica, and histograms of durations. Pure.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin describes ``/clusters?format=json`` and
``/stats?format=json&histogram_buckets=cumulative``. Envoy adds to its histograms every five seconds
(``stats_flush_interval``), so the last seconds may be missing, and its buckets are wide: a quantile
is known to be at most some bound.

Envoy does not say which replica answered a request: its counters, the control plane's readings, and
a header of the replicas, where they send one, each show a part.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from controlplane.api.schema import Replica
from controlplane.resources.classes import pool_of
from controlplane.tools.load.record import Series

Counts = Mapping[str, int]
"""Requests by replica id."""

Buckets = Mapping[float, int]
"""How many durations were at most a bound, by the bound in seconds."""


@dataclass(frozen=True, slots=True)
class Host:
    """One replica as one Envoy sees it.

    Attributes:
        requests: That were sent to it since Envoy made this host.
        usable: It passes its health checks and is neither ejected nor draining.
        pending: Requests that wait in Envoy for a connection to it.
    """

    requests: int
    usable: bool
    active: int = 0
    pending: int = 0


def hosts(clusters: Mapping[str, Any], name: str) -> dict[str, Host]:
    """Read the hosts of one cluster by hostname, which is the replica's id, else by address."""
    return {
        _name(host): Host(
            requests=_stat(host, "rq_total"),
            usable=_is_usable(host),
            active=_stat(host, "rq_active"),
            pending=_stat(host, "rq_pending_active"),
        )
        for cluster in clusters.get("cluster_statuses", ())
        if cluster.get("name") == name
        for host in cluster.get("host_statuses", ())
    }


def clusters_of(clusters: Mapping[str, Any], pool: str) -> list[str]:
    """Return the names of a pool's clusters that an Envoy has: its own, and one for each class."""
    names = (str(each.get("name")) for each in clusters.get("cluster_statuses", ()))
    return sorted(name for name in names if pool_of(name) == pool)


def hosts_of_all(answers: Mapping[str, Any], pool: str) -> dict[str, dict[str, Host]]:
    """Read the hosts of a pool at several Envoys.

    Args:
        answers: By Envoy; of one that did not answer, anything but a mapping.

    Returns:
        By Envoy, and apart those of its cluster for each class of the pool's requests: the same
        replicas, which Envoy counts separately there.
    """
    found = {}
    for envoy, answer in answers.items():
        if not isinstance(answer, Mapping):
            continue
        found[envoy] = hosts(answer, pool)
        for name in clusters_of(answer, pool):
            if name != pool and (of_class := hosts(answer, name)):
                found[f"{envoy} ({name})"] = of_class
    return found


def _name(host: Mapping[str, Any]) -> str:
    # A cluster that is not of our making may well have no hostnames.
    address = host.get("address", {}).get("socket_address", {})
    return str(host.get("hostname") or f"{address.get('address')}:{address.get('port_value')}")


def _stat(host: Mapping[str, Any], name: str) -> int:
    # A value is a string, and is left out while it is 0 (protobuf's JSON).
    return sum(
        int(stat.get("value", 0)) for stat in host.get("stats", ()) if stat.get("name") == name
    )


def _is_usable(host: Mapping[str, Any]) -> bool:
    health = dict(host.get("health_status", {}))
    return health.pop("eds_health_status", None) == "HEALTHY" and not any(health.values())


def grown(before: Counts, now: Counts) -> dict[str, int]:
    """Return by how much counters have grown.

    A replica that changes its tier becomes a new host in Envoy, whose counter starts at 0 again:
    one that went down has grown by all that it shows.
    """
    return {
        id_: count - (before.get(id_, 0) if count >= before.get(id_, 0) else 0)
        for id_, count in now.items()
    }


@dataclass(slots=True)
class Tally:
    """The requests of all Envoys over time.

    Attributes:
        samples: When, in seconds, and what was counted since the sample before.
    """

    samples: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    _last: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, at: float, envoys: Mapping[str, Counts]) -> None:
        """Add what each Envoy shows; Envoys that did not answer are left out.

        The first sample of an Envoy is what the next one is compared with, and counts for nothing.
        """
        total: dict[str, int] = {}
        for envoy, counts in envoys.items():
            if envoy in self._last:
                for id_, count in grown(self._last[envoy], counts).items():
                    total[id_] = total.get(id_, 0) + count
            self._last[envoy] = dict(counts)
        self.samples.append((at, total))

    def shares(self, since: float, until: float) -> dict[str, float]:
        """Return each replica's share of the requests in samples after `since`, up to `until`."""
        total: dict[str, int] = {}
        for at, counts in self.samples:
            if since < at <= until:
                for id_, count in counts.items():
                    total[id_] = total.get(id_, 0) + count
        every = sum(total.values())
        return {id_: count / every for id_, count in total.items()} if every else {}


@dataclass(frozen=True, slots=True)
class Hop:
    """Durations of one histogram between two looks at it; the true ones are at most so long."""

    requests: int
    p50: float
    p99: float


def query(pool: str, clusters: Iterable[str]) -> str:
    """Return the path that answers with the histograms of a pool.

    Args:
        clusters: Names of its clusters; in names of histograms Envoy replaces colons.
    """
    names = "|".join(re.escape(name.replace(":", "_")) for name in clusters)
    down, up = (
        rf"http\.{re.escape(pool)}\.downstream_rq_time",
        rf"cluster\.({names})\.upstream_rq_time",
    )
    wanted = rf"^({down}|{up})$"
    return f"/stats?format=json&histogram_buckets=cumulative&filter={quote(wanted, safe='')}"


def histograms(answer: Mapping[str, Any]) -> dict[str, Buckets]:
    """Read the answer: ``downstream`` and ``upstream``, where Envoy has them.

    Upstream is a cluster for each class of requests; what they counted is added up.
    """
    found: dict[str, dict[float, int]] = {}
    for stat in answer.get("stats", ()):
        for entry in stat.get("histograms", ()):
            name = "upstream" if entry["name"].startswith("cluster.") else "downstream"
            buckets = found.setdefault(name, {})
            for bucket in entry["buckets"]:
                bound = bucket["upper_bound"] / 1000
                buckets[bound] = buckets.get(bound, 0) + int(bucket["cumulative"])
    return {**found}


def hops(before: Mapping[str, Buckets], after: Mapping[str, Buckets]) -> dict[str, Hop]:
    """Return what was added between two looks, by histogram; unchanged ones are left out.

    A histogram that has shrunk belongs to an Envoy that was restarted.
    """
    found = {}
    for name, buckets in after.items():
        then = before.get(name, {})
        added = {bound: count - then.get(bound, 0) for bound, count in sorted(buckets.items())}
        if min(added.values(), default=0) < 0:
            added = dict(sorted(buckets.items()))
        total = max(added.values(), default=0)
        if total:
            found[name] = Hop(total, _bound(added, 0.5 * total), _bound(added, 0.99 * total))
    return found


def _bound(cumulative: Buckets, rank: float) -> float:
    return next(bound for bound, count in cumulative.items() if count >= rank)


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
