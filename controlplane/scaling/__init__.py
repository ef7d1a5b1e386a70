"""How many replicas a pool should have, and why.

In come decisions, how ready replicas are, and the time; out comes a `Recommendation`.
"""

from controlplane.scaling.pool import PoolScaling, Recommendation, ReplicaState
from controlplane.scaling.rule import Need
