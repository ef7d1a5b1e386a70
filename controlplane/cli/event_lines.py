"""Events of the control plane as people read them: one line each."""

import json

from controlplane.cli.pool_table import health
from controlplane.cli.printable import printable
from controlplane.cli.replica_table import percent, shown
from controlplane.client import (
    Event,
    Missed,
    PartingChanged,
    PoolChanged,
    ReplicaChanged,
    ReplicaInShort,
    StateShown,
)


def line(event: Event) -> str:
    """What has happened."""
    return printable(_words(event))


def json_line(event: Event) -> str:
    """The same for a program, as the control plane has sent it."""
    return json.dumps({"id": event.id, "event": event.kind, "data": event.document})


def _words(event: Event) -> str:
    match event:
        case StateShown(pools=pools):
            each = "; ".join(f"{pool.name}: {health(pool)}" for pool in pools)
            return f"state: {each or 'no pools'}"
        case PoolChanged(pool=pool, change=change):
            return f"pool {pool} {change}"
        case ReplicaChanged(pool=pool, replica=replica, change=change, now=now):
            return f"replica {pool}/{replica} {change}" + ("" if now is None else f": {_is(now)}")
        case PartingChanged(pool=pool, change=change, classes=classes):
            each = ", ".join(f"{name} on {_replicas(count)}" for name, count in classes.items())
            return f"classes of pool {pool} {change}" + (f": {each}" if each else "")
        case Missed(detail=detail):
            return detail
        case _:
            return f"{event.kind}: {json.dumps(dict(event.document))}"


def _replicas(count: int) -> str:
    return f"{count} replica{'' if count == 1 else 's'}"


def _is(replica: ReplicaInShort) -> str:
    parts = [replica.state]
    if replica.draining:
        parts.append(f"draining ({replica.draining})")
    if replica.tier:
        parts.append(replica.tier)
    if replica.share is not None:
        parts.append(f"{percent(replica.share)} of the traffic")
    if replica.in_flight is not None:
        parts.append(f"{shown(replica.in_flight)} in flight")
    return ", ".join(parts)
