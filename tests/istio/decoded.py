"""What istiod is given, decoded, and pools for it."""

from typing import Any, NamedTuple

from controlplane.config import Address, PoolSettings, validated
from controlplane.config.config import IstioSettings
from controlplane.fleet import Fleet, PutPool
from controlplane.istio.resources import Configuration, PoolInMesh, configure
from controlplane.protos import envoy_pb2 as envoy
from controlplane.protos import istio_pb2 as pb
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.endpoints import EndpointWeight
from tests.fleet.fleets import after, put

SETTINGS = IstioSettings(address=Address("127.0.0.1", 0))


class Read(NamedTuple):
    """A resource: its name, its version, the year of its making, and the encoded message in it."""

    name: str
    version: str
    year: int
    body: bytes


def read(packed: bytes, kind: str) -> Read:
    """Read what a response has of a resource."""
    outer = envoy.Any.FromString(packed)
    assert outer.type_url == "type.googleapis.com/istio.mcp.v1alpha1.Resource"
    resource = pb.Resource.FromString(outer.value)
    inner = envoy.Any.FromString(resource.body)
    assert inner.type_url == f"type.googleapis.com/istio.networking.v1alpha3.{kind}"
    metadata = resource.metadata
    return Read(
        metadata.name, metadata.version, metadata.create_time.ToDatetime().year, inner.value
    )


def service_entry(made: PoolInMesh) -> pb.ServiceEntry:
    return pb.ServiceEntry.FromString(read(made.service_entry.packed, "ServiceEntry").body)


def endpoints(made: PoolInMesh) -> dict[str, pb.WorkloadEntry]:
    """The endpoints of a pool by their address and port."""
    found = [pb.WorkloadEntry.FromString(endpoint) for endpoint in service_entry(made).endpoints]
    return {f"{item.address}:{item.ports['requests']}": item for item in found}


def destination_rule(made: PoolInMesh) -> pb.DestinationRule:
    return pb.DestinationRule.FromString(read(made.destination_rule.packed, "DestinationRule").body)


def a_pool(name: str = "p", **settings: Any) -> Fleet:
    """A pool without replicas."""
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **settings}
    return after(PutPool(name, validated(PoolSettings, body)))


def catalog(
    fleet: Fleet, endpoint_weights: dict[str, EndpointWeight], known: Catalog | None = None
) -> Catalog:
    """A catalog in which every pool has these portions."""
    return build(fleet, dict.fromkeys(fleet.pools, endpoint_weights), known or Catalog())


def configured(fleet: Fleet, endpoint_weights: dict[str, EndpointWeight]) -> Configuration:
    return configure(catalog(fleet, endpoint_weights).pools, SETTINGS)


def made(fleet: Fleet, endpoint_weights: dict[str, EndpointWeight], name: str = "p") -> PoolInMesh:
    """The resources of a pool."""
    return configured(fleet, endpoint_weights).pools[name][1]


def one(
    port: int = 9000, endpoint_weight: EndpointWeight | None = None, **replica: Any
) -> PoolInMesh:
    """The resources of a pool with one replica."""
    fleet = after(put("a", port, **replica), fleet=a_pool())
    return made(fleet, {"a": endpoint_weight or EndpointWeight("tier-1", 100)})
