"""The xDS protocol and its gRPC server: snapshots in, responses to Envoys and events out.

Pure: `protocol` (what a request changes and a response says), `stream` (which type is sent next),
`subscription` (which resources), `nack` (what a rejection means), and the messages of the services
beside them. The server, its connections and its services do the I/O.
"""

from controlplane.xds.report_services import LoadSink, SampleSink
from controlplane.xds.server import BindError, XdsServer
from controlplane.xds.services import Catalog, Observer, Offer, PushObserver

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
