"""The control plane's whole state without I/O: commands, readings and the time in, a catalog out.

`Plane` is what the API, the store, the scraper and the xDS server talk to. It keeps what must
outlive one call (the fleet, what was observed of each replica, the last decision about each pool)
and decides when it is asked to.
"""

from controlplane.plane.devices import Exporter, GpuReport
from controlplane.plane.discoveries import PoolReport
from controlplane.plane.history import RETENTION, HistoryItem, changes
from controlplane.plane.observed import Failure, Probe, Readiness, State
from controlplane.plane.plane import Plane
from controlplane.plane.preview import Preview, catalog_if_healthy, first_catalog, preview
from controlplane.plane.recovery import PUSH_INTERVAL, DecisionBudget, RestartPool, RestartReplica
from controlplane.plane.state import ReplicaReport, ReplicaSummary, Target
from controlplane.plane.trends import PoolTraffic
