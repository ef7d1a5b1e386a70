"""Who exists: pools and replicas, the commands that change them, leases and generations.

In come commands and the time; out comes a new `Fleet`, or a `Refused` that leaves the old one.
`now` counts seconds of a monotonic clock, here and in all packages that build on this one.
"""

from controlplane.fleet.apply import DRAIN_SECONDS, apply, expire
from controlplane.fleet.audit import AuditEntry, AuditLog, UnwrittenEntries
from controlplane.fleet.change import Applied, Change, Draft, Key, declared, whole
from controlplane.fleet.declare import Sets, declare, discover
from controlplane.fleet.restore import (
    Registered,
    RegisteredPool,
    RegisteredReplica,
    Rows,
    differing_keys,
    keys_of_rows,
    registered,
    restored,
    rows,
)
from controlplane.fleet.rules import TOGETHER, listeners_of, refuse_foreign, refuse_loops
from controlplane.fleet.state import (
    Command,
    DeletePool,
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    Heartbeat,
    Pool,
    PutPool,
    PutReplica,
    PutReplicas,
    Refused,
    Replica,
    Replicas,
    Source,
    Undrain,
)
