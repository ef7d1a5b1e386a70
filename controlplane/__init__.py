"""Plimsoll: an Envoy xDS control plane for embedding-model replicas.

Data flows one way: config → fleet → telemetry → balancing → resources → xds → Envoy, and is decided
without I/O and without a clock. `plane` keeps the state. `discovery`, `scraping`, `store`, `api`,
`metrics` and the gRPC server in `xds` do the I/O, and `app` connects everything.
"""

__version__ = "0.1.0"
