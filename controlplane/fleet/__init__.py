"""Who exists: pools and replicas, the commands that change them, leases and generations.

In come commands and the time; out comes a new `Fleet`, or a `Refused` that leaves the old one.
"""

from controlplane.fleet.apply import apply
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
from controlplane.fleet.differences import Difference, differences
from controlplane.fleet.leases import expire
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica, Source

__all__ = [
    "Command",
    "DeletePool",
    "DeleteReplica",
    "Difference",
    "Drain",
    "Draining",
    "Fleet",
    "Heartbeat",
    "Pool",
    "PutPool",
    "PutReplica",
    "PutReplicas",
    "Refused",
    "Replica",
    "Source",
    "Undrain",
    "apply",
    "declare",
    "differences",
    "expire",
]
