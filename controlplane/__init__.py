"""Plimsoll: an Envoy xDS control plane for embedding-model replicas.

Data flows one way: fleet → signals → balancing → resources → xds → Envoy. Each of these packages
is pure (no I/O, no clock); ``edges`` does the I/O and ``assembly`` connects everything.
"""

__version__ = "0.1.0"
