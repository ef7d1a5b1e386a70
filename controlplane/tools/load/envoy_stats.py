"""What Envoy itself counted: its admin interface's ``/clusters?format=json`` in, requests out.

https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--clusters describes the answer.
Pure; fetching it is somebody else's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.resources.classes import pool_of

Counts = Mapping[str, int]
"""Requests by replica id."""


@dataclass(frozen=True, slots=True)
class Host:
    """One replica as one Envoy sees it.

    Attributes:
        requests: That were sent to it since Envoy made this host.
        usable: It passes its health checks and is neither ejected nor draining.
        active: Requests that it has not answered yet.
        pending: Requests that wait in Envoy for a connection to it.
    """

    requests: int
    usable: bool
    active: int = 0
    pending: int = 0


def hosts(clusters: Mapping[str, Any], name: str) -> dict[str, Host]:
    """Read the hosts of one cluster by hostname, which is the replica's id; else by address."""
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
    """The names of a pool's clusters that an Envoy has: its own, and one for each class."""
    names = (str(it.get("name")) for it in clusters.get("cluster_statuses", ()))
    return sorted(name for name in names if pool_of(name) == pool)


def hosts_of_all(answers: Mapping[str, Any], pool: str) -> dict[str, dict[str, Host]]:
    """Read the hosts of a pool at several Envoys.

    Args:
        answers: By Envoy; of one that did not answer, anything but a mapping.
        pool: Its name.

    Returns:
        By Envoy, and beside each those of its cluster for each class of the pool's requests: the
        same replicas, which it counts there anew.
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
    """By how much counters have grown.

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
        """Take in what each Envoy shows; those that are left out have not answered.

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
        """Each replica's part of the requests in the samples after `since`, up to `until`."""
        total: dict[str, int] = {}
        for at, counts in self.samples:
            if since < at <= until:
                for id_, count in counts.items():
                    total[id_] = total.get(id_, 0) + count
        every = sum(total.values())
        return {id_: count / every for id_, count in total.items()} if every else {}
