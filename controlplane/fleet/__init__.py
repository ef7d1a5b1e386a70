"""Who exists: pools and replicas, the commands that change them, leases and generations.

In come commands and the time; out comes a new `Fleet`, or a `Refused` that leaves the old one.
"""

from controlplane.fleet.apply import apply
from controlplane.fleet.audit import AuditLog, Entry, Noted, Unkept
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
from controlplane.fleet.differences import Difference, declared, differences
from controlplane.fleet.discover import Merged, Sets, discover
from controlplane.fleet.layers import Layers, Source
from controlplane.fleet.lease_times import LeaseTimes
from controlplane.fleet.leases import expire, given_back
from controlplane.fleet.loops import listeners_of, refuse_loops
from controlplane.fleet.owners import refuse_foreign
from controlplane.fleet.registered import (
    Changes,
    Registered,
    RegisteredPool,
    RegisteredReplica,
    changes,
    registered,
)
from controlplane.fleet.restore import restored
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica, Replicas

__all__ = [
    "AuditLog",
    "Changes",
    "Command",
    "DeletePool",
    "DeleteReplica",
    "Difference",
    "Drain",
    "Draining",
    "Entry",
    "Fleet",
    "Heartbeat",
    "Layers",
    "LeaseTimes",
    "Merged",
    "Noted",
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
    "Sets",
    "Source",
    "Undrain",
    "Unkept",
    "apply",
    "changes",
    "declare",
    "declared",
    "differences",
    "discover",
    "expire",
    "given_back",
    "listeners_of",
    "refuse_foreign",
    "refuse_loops",
    "registered",
    "restored",
]
