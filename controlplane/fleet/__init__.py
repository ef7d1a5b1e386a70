"""Who exists: pools and replicas, the commands that change them, leases and generations.

In come commands and the time; out comes a new `Fleet`, or a `Refused` that leaves the old one.
`now` counts seconds of a monotonic clock, here and in all packages that build on this one.
"""

from controlplane.fleet.apply import apply
from controlplane.fleet.audit import AuditEntry, AuditLog, UnwrittenEntries
from controlplane.fleet.change import Applied, Change, Draft, Key, declared, whole
from controlplane.fleet.commands import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Heartbeat,
    PutPool,
    PutReplica,
    PutReplicas,
    Undrain,
)
from controlplane.fleet.declare import declare
from controlplane.fleet.discover import Sets, discover
from controlplane.fleet.leases import DRAIN_SECONDS, expire
from controlplane.fleet.registered import (
    Registered,
    RegisteredPool,
    RegisteredReplica,
    Rows,
    differing_keys,
    keys_of_rows,
    registered,
    rows,
)
from controlplane.fleet.restore import restored
from controlplane.fleet.rules import TOGETHER, listeners_of, refuse_foreign, refuse_loops
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica, Replicas, Source

__all__ = [
    "DRAIN_SECONDS",
    "TOGETHER",
    "Applied",
    "AuditEntry",
    "AuditLog",
    "Change",
    "Command",
    "DeletePool",
    "DeleteReplica",
    "Draft",
    "Drain",
    "Draining",
    "Fleet",
    "Heartbeat",
    "Key",
    "Pool",
    "PutPool",
    "PutReplica",
    "PutReplicas",
    "Refused",
    "Registered",
    "RegisteredPool",
    "RegisteredReplica",
    "Replica",
    "Replicas",
    "Rows",
    "Sets",
    "Source",
    "Undrain",
    "UnwrittenEntries",
    "apply",
    "declare",
    "declared",
    "differing_keys",
    "discover",
    "expire",
    "keys_of_rows",
    "listeners_of",
    "refuse_foreign",
    "refuse_loops",
    "registered",
    "restored",
    "rows",
    "whole",
]
