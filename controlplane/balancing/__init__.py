"""How much of each class of requests each replica gets, and why.

In come a table of what is known of replicas, the sizes of requests, and the time; out comes a
`Decision`.
"""

from controlplane.balancing.decision import ClassDecision, Decision, ReplicaDecision
from controlplane.balancing.pipeline import STAGES, decide
from controlplane.balancing.table import ENVOYS, OWN, InFlight, ReplicaInput, Table
from controlplane.balancing.zones import NOWHERE, Place, Shares, ZoneInput, ZonePlan

__all__ = [
    "ENVOYS",
    "NOWHERE",
    "OWN",
    "STAGES",
    "ClassDecision",
    "Decision",
    "InFlight",
    "Place",
    "ReplicaDecision",
    "ReplicaInput",
    "Shares",
    "Table",
    "ZoneInput",
    "ZonePlan",
    "decide",
]
