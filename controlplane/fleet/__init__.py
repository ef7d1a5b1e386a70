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
    Undrain,
)
from controlplane.fleet.declare import declare
from controlplane.fleet.discover import Merged, Sets, discover
from controlplane.fleet.leases import expire
from controlplane.fleet.state import Draining, Fleet, Pool, Refused, Replica, Source

__all__ = [
    "Command",
    "DeletePool",
    "DeleteReplica",
    "Drain",
    "Draining",
    "Fleet",
    "Heartbeat",
    "Merged",
    "Pool",
    "PutPool",
    "PutReplica",
    "Refused",
    "Replica",
    "Sets",
    "Source",
    "Undrain",
    "apply",
    "declare",
    "discover",
    "expire",
]
