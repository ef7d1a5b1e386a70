"""The xDS protocol and its gRPC server: snapshots in, responses to Envoys and events out.

Pure: `protocol` (what a request changes and a response says), `stream` (which type is sent next),
`subscription` (which resources), `nack` (what a rejection means), and the messages of the services
beside them. `server`, `connection`, `report_services` and `client_status_service` do the I/O.
"""

from controlplane.binding import BindError
from controlplane.xds.authentication import XdsTls
from controlplane.xds.events import (
    FAULT,
    Acknowledged,
    Connected,
    Disconnected,
    Event,
    NodeStatus,
    Refused,
    Rejected,
    Rejection,
    Sent,
    TypeStatus,
    Unserved,
)
from controlplane.xds.node import Locality, Node, ProtocolError
from controlplane.xds.protocol import decode_delta, encode_delta
from controlplane.xds.push_latency import PushLatency
from controlplane.xds.report_services import (
    ACCESS_LOGS,
    HEALTH_DISCOVERY,
    LOAD_REPORTING,
    HealthSink,
    LoadSink,
    SampleSink,
)
from controlplane.xds.reports import LoadStats
from controlplane.xds.server import XdsServer
from controlplane.xds.services import (
    AGGREGATED,
    SERVICES,
    Catalog,
    Offer,
    PushObserver,
    SecretsOf,
    Service,
)
