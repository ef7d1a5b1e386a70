"""The control plane's own metrics, for Prometheus: what happened comes in, an exposition goes out.

Nothing is labelled with a client's own claims. Pools and replicas are labels, and their
series go with them.
"""

from controlplane.metrics.metrics import OwnMetrics
from controlplane.metrics.streams import Pushes
