"""Serves Envoys over gRPC: bytes in and out of `controlplane.xds.stream.Stream`, one per stream.

In comes a slot with the newest catalog, out go responses, and events for those who log and count.
Nothing about the protocol is decided here.
"""

from controlplane.edges.xds_server.audience import Catalog
from controlplane.edges.xds_server.server import BindError, Observer, Offer, XdsServer

__all__ = ["BindError", "Catalog", "Observer", "Offer", "XdsServer"]
