"""The control plane's whole state without I/O: commands, readings and the time in, a catalog out.

`Plane` is what the edges talk to. It keeps what must outlive one call (the fleet, what was
observed of each replica, the last decision about each pool) and decides when it is asked to.
"""

from controlplane.plane.changes import changes
from controlplane.plane.devices import Exporter, Joined
from controlplane.plane.discoveries import Discoveries, PoolReport, SourceReport
from controlplane.plane.entry import Entry
from controlplane.plane.if_healthy import catalog_if_healthy
from controlplane.plane.observed import Failure, Observed
from controlplane.plane.pacing import PUSH_INTERVAL, Pacing
from controlplane.plane.plane import Plane
from controlplane.plane.preview import Preview, preview
from controlplane.plane.readiness import Probe, Readiness, State
from controlplane.plane.remembered import Remembered, RememberedPool
from controlplane.plane.report import ReplicaReport, Target
from controlplane.plane.timeline import KEPT, Told

__all__ = [
    "KEPT",
    "PUSH_INTERVAL",
    "Discoveries",
    "Entry",
    "Exporter",
    "Failure",
    "Joined",
    "Observed",
    "Pacing",
    "Plane",
    "PoolReport",
    "Preview",
    "Probe",
    "Readiness",
    "Remembered",
    "RememberedPool",
    "ReplicaReport",
    "SourceReport",
    "State",
    "Target",
    "Told",
    "catalog_if_healthy",
    "changes",
    "preview",
]
