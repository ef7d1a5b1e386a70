"""Gives istiod the pools, so that the sidecars of its mesh balance by what replicas can carry.

istiod takes configuration from others by xDS (``configSources`` of its mesh config). In comes the
catalog; out go a ServiceEntry and a DestinationRule for each pool. `resources` builds them and
`stream` speaks the protocol, without I/O; `server` is the gRPC server.
"""

from controlplane.istio.server import IstioServer
