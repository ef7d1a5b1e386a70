"""What the xDS port serves, where snapshots come from, and who observes what happens on streams."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias

from controlplane.identity import Identity
from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    Changes,
    Revision,
    Snapshot,
)
from controlplane.resources.views import View
from controlplane.xds.events import Event, Sent
from controlplane.xds.protocol import Delta, StateOfTheWorld, TransportProtocol
from controlplane.xds.state import SharedStates
from controlplane.xds.stream import Stream

Begin: TypeAlias = Callable[[Identity | None], Stream]
"""Begins a stream of a client with this identity."""

SecretsOf: TypeAlias = Callable[[Identity], Snapshot]
"""What a client holds of secrets: the same object until one of them changes."""


class Catalog(Protocol):
    """Where snapshots come from."""

    @property
    def revision(self) -> Revision:
        """The revision of every snapshot that comes from here."""

    def view(self, view: View) -> Snapshot:
        """The snapshot for all nodes with this view."""

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """The resources of pools that came, changed or went; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The newest catalog, and when its cause was noticed, in seconds of the server's clock."""

    catalog: Catalog
    noticed_at: float


@dataclass(frozen=True, slots=True)
class Service:
    """One xDS service, and the noun that ends its methods' names; of one type, or of all (None)."""

    name: str
    noun: str
    type_url: str | None

    def methods(self, shared_states: SharedStates) -> dict[str, Begin]:
        """What begins a stream, by the name of the method; all streams of a server share states."""
        protocols: dict[str, TransportProtocol] = {"Stream": StateOfTheWorld(), "Delta": Delta()}
        return {
            f"{prefix}{self.noun}": partial(Stream, protocol, self.type_url, shared_states)
            for prefix, protocol in protocols.items()
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
"""Streams only. Fetching once, which no Envoy does over gRPC, is not implemented."""


Observer: TypeAlias = Callable[[str, Event], None]
"""Called with the id of a node and what happened on its stream; must neither block nor raise."""


class NodeObserver(Protocol):
    """Learns which Envoys are connected; no method may block or raise."""

    def envoy_came(self, stream: Hashable, node: str, view: View) -> str | None:
        """A stream has introduced itself; returns why it cannot be served, None where it can."""

    def envoy_left(self, stream: Hashable) -> None:
        """A stream has ended."""


class PushObserver(Protocol):
    """Learns how far each catalog got; no method may block or raise."""

    def begun(self, streams: Iterable[Hashable], noticed_at: float) -> None:
        """A new catalog is about to be sent to these."""

    def writing(self, stream: Hashable, node: str, event: Sent) -> None:
        """A response is about to be written to a node."""

    def happened(self, stream: Hashable, node: str, event: Event) -> None:
        """Something has happened on a stream of a node."""

    def settled(self, stream: Hashable) -> None:
        """A stream has, or has rejected, all that it should have of the newest catalog."""

    def gone(self, stream: Hashable) -> None:
        """A stream has ended."""
