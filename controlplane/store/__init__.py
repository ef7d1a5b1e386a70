"""What must outlive the control plane, in SQLite: registrations at once, weights now and then.

`Store` is one file and the one thread that touches it. `Registry` lets no change of the fleet be
seen before it is on disk. `WeightKeeper` writes down what Envoys were sent.
"""

from controlplane.store.registry import Registry
from controlplane.store.store import Store
from controlplane.store.tables import StoreError
from controlplane.store.weights import WeightKeeper
