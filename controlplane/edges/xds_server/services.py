"""The services of the xDS port: their methods, which protocol each speaks, and of which type."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from controlplane.xds.delta import Delta
from controlplane.xds.requests import DeltaRequest, SotwRequest
from controlplane.xds.sotw import StateOfTheWorld
from controlplane.xds.standing import Standings
from controlplane.xds.stream import Stream

AnyStream = Stream[DeltaRequest] | Stream[SotwRequest]


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the xDS transport protocol.

    Attributes:
        name: With its package.
        noun: What the names of its methods end with.
        type_url: The only type that it serves; None for the aggregated one.
    """

    name: str
    noun: str
    type_url: str | None

    def methods(self, standings: Standings) -> dict[str, Callable[[], AnyStream]]:
        """What begins a stream, by the name of the method.

        Args:
            standings: Of all streams of a server.
        """
        return {
            f"Stream{self.noun}": lambda: Stream(StateOfTheWorld(), self.type_url, standings),
            f"Delta{self.noun}": lambda: Stream(Delta(), self.type_url, standings),
        }


AGGREGATED: Final = Service(
    "envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None
)

SERVICES: Final = (
    AGGREGATED,
    Service("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", CLUSTER),
    Service("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", ENDPOINT),
    Service("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", LISTENER),
    Service("envoy.service.route.v3.RouteDiscoveryService", "Routes", ROUTE),
    Service("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", SECRET),
)
"""Those that stream. Fetching once, which no Envoy does over gRPC, is not implemented."""
