"""Resources in a bootstrap that asks nobody for them, so that an Envoy judges them by itself.

``envoy --mode validate`` looks at what its bootstrap holds and asks no control plane. So whatever
Envoy would ask for stands where it would come to: endpoints in a cluster, routes in a listener.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 as hcm_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.balancing import Place
from controlplane.config import Address
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.bootstrap import NODE_CLUSTER
from controlplane.resources.catalog import Catalog
from controlplane.resources.pool_resources import PoolResources
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot
from controlplane.resources.views import View

_ANYWHERE: Final = Address("127.0.0.1", 1)
"""An address that is never opened: a gateway names its own, and validation opens none."""


_WORDS: Final = {
    CLUSTER: "the cluster",
    ENDPOINT: "the endpoints of",
    LISTENER: "the listener",
    ROUTE: "the routes of",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One resource; as text it is what an operator knows it as.

    Attributes:
        held: The encoded cluster or listener that a bootstrap holds it as.
        near: Where Envoys run that get these endpoints, and other ones than elsewhere.
    """

    type_url: str
    name: str
    held: bytes
    near: Place | None = None

    def __str__(self) -> str:
        return f"{_WORDS[self.type_url]} {self.name}{_where(self.near)}"


def sidecar_parts(catalog: Catalog) -> tuple[Part, ...]:
    """All resources of sidecars in any zone; each comes after the ones that it refers to."""
    shown = catalog.view(View())
    near = (part for held in catalog.pools.values() for part in _near(held))
    return (*_clusters(shown), *_endpoints(shown), *near, *_listeners(shown), *_routes(shown))


def gateway_parts(catalog: Catalog) -> tuple[Part, ...]:
    """The listener of a gateway and its routes, after the clusters that these lead to."""
    shown = catalog.view(View(gateway=_ANYWHERE))
    return (*_clusters(shown), *_listeners(shown), *_routes(shown))


def standalone(parts: Iterable[Part]) -> bytes:
    """An encoded bootstrap with these parts, without control plane and admin interface.

    Each part comes after the ones that it refers to.
    """
    clusters, listeners = [], {}
    for part in parts:
        if part.type_url in (CLUSTER, ENDPOINT):
            clusters.append(part.held)
        else:
            # The routes are held by the same listener.
            listeners[part.name] = part.held
    return pb.Bootstrap(
        node=pb.Node(id="validate", cluster=NODE_CLUSTER),
        static_resources=pb.Bootstrap.StaticResources(
            listeners=listeners.values(), clusters=clusters
        ),
    ).SerializeToString()


def _clusters(shown: Snapshot) -> Iterator[Part]:
    for name, resource in shown.type(CLUSTER).items():
        nothing = pb.ClusterLoadAssignment(cluster_name=name).SerializeToString()
        yield Part(CLUSTER, name, _with_endpoints(_static(resource), nothing))


def _endpoints(shown: Snapshot) -> Iterator[Part]:
    clusters = shown.type(CLUSTER)
    for name, resource in shown.type(ENDPOINT).items():
        yield _assigned(clusters[name], resource)


def _near(held: PoolResources) -> Iterator[Part]:
    """The endpoints of a pool as Envoys get them that are nearer to some replicas than others."""
    places = {member.place for member in held.members}
    known = {resource.version for resource in held.resources[ENDPOINT]}
    clusters = {cluster.name: cluster for cluster in held.resources[CLUSTER]}
    for here in sorted(places | {Place(place.region) for place in places}):
        for usual in held.resources[ENDPOINT]:
            resource = held.endpoints(usual.name, here)
            if resource is not None and resource.version not in known:
                known.add(resource.version)
                yield _assigned(clusters[resource.name], resource, here)


def _assigned(cluster: Resource, endpoints: Resource, near: Place | None = None) -> Part:
    """Endpoints in a cluster like theirs.

    It has another name, as it stands beside the cluster itself. And it has no health checks: Envoy
    opens a socket for each host that it is to check, and ends when it cannot open any more.
    """
    message = _static(cluster)
    message.name = f"{cluster.name} with endpoints{_where(near)}"
    message.health_checks = []
    held = _with_endpoints(message, _content(endpoints))
    return Part(ENDPOINT, endpoints.name, held, near)


def _with_endpoints(cluster: cluster_v3.Cluster, assignment: bytes) -> bytes:
    # Encoded messages that follow each other are merged.
    return bytes(cluster) + pb.Cluster(load_assignment=assignment).SerializeToString()


def _static(cluster: Resource) -> cluster_v3.Cluster:
    """A cluster that does not ask for its endpoints."""
    message = cluster_v3.Cluster.parse(_content(cluster))
    if message.eds_cluster_config is None:
        return message
    message.type = cluster_v3.ClusterDiscoveryType.STATIC
    # Its files are on another machine.
    message.transport_socket = None
    message.eds_cluster_config = None
    return message


def _listeners(shown: Snapshot) -> Iterator[Part]:
    for name, resource in shown.type(LISTENER).items():
        nothing = route_v3.RouteConfiguration(name=name)
        yield Part(LISTENER, name, _with_routes(resource, nothing))


def _routes(shown: Snapshot) -> Iterator[Part]:
    listeners = shown.type(LISTENER)
    for name, resource in shown.type(ROUTE).items():
        routes = route_v3.RouteConfiguration.parse(_content(resource))
        yield Part(ROUTE, name, _with_routes(listeners[name], routes))


def _with_routes(listener: Resource, routes: route_v3.RouteConfiguration) -> bytes:
    """A listener that does not ask for its routes."""
    message = listener_v3.Listener.parse(_content(listener))
    for chain in message.filter_chains:
        chain.transport_socket = None
        for network_filter in chain.filters:
            if network_filter.typed_config is not None:
                manager = hcm_v3.HttpConnectionManager.parse(network_filter.typed_config.value)
                manager.rds, manager.route_config = None, routes
                network_filter.typed_config = protobuf.Any.pack(manager)
    return bytes(message)


def _content(resource: Resource) -> bytes:
    return protobuf.Any.parse(resource.packed).value


def _where(near: Place | None) -> str:
    return f" for Envoys in {'/'.join(filter(None, (near.region, near.zone)))}" if near else ""
