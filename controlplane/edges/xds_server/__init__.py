"""Serves Envoys over gRPC: bytes in and out of `controlplane.xds.stream.Stream`, one per stream.

In comes a slot with the newest catalog, out go responses, and events for those who log and count.
Nothing about the protocol is decided here.
"""

from controlplane.edges.binding import BindError
from controlplane.edges.xds_server.access_logging import SampleSink
from controlplane.edges.xds_server.audience import Catalog, Offer
from controlplane.edges.xds_server.load_reporting import LoadSink
from controlplane.edges.xds_server.observers import Observer, PushObserver
from controlplane.edges.xds_server.server import XdsServer

__all__ = [
    "BindError",
    "Catalog",
    "LoadSink",
    "Observer",
    "Offer",
    "PushObserver",
    "SampleSink",
    "XdsServer",
]
