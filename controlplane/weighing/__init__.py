"""How much each replica gets: from what it reports to a capacity, a tier, a weight and why.

In come windows of readings and the time; out comes a `Weighing` of a pool, explained step by step.
"""

from controlplane.weighing.alike import differing, moving, serving
from controlplane.weighing.explanation import Step, explain
from controlplane.weighing.gpus import gpu_use
from controlplane.weighing.kept import (
    pool_data,
    replica_data,
    restored_replica,
    restored_weighing,
)
from controlplane.weighing.replica import ReplicaInput, ReplicaWeighing, State, Weighing
from controlplane.weighing.uncounted import uncounted
from controlplane.weighing.unmeasured import amended
from controlplane.weighing.veto import ENVOYS, OWN, InFlight
from controlplane.weighing.weigh import weigh

__all__ = [
    "ENVOYS",
    "OWN",
    "InFlight",
    "ReplicaInput",
    "ReplicaWeighing",
    "State",
    "Step",
    "Weighing",
    "amended",
    "differing",
    "explain",
    "gpu_use",
    "moving",
    "pool_data",
    "replica_data",
    "restored_replica",
    "restored_weighing",
    "serving",
    "uncounted",
    "weigh",
]
