"""What is encoded here has the bytes that betterproto2 makes of the same message."""

from collections.abc import Collection
from dataclasses import replace
from itertools import groupby

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.config import Address, Locality, ReplicaSettings
from controlplane.fleet import Draining, Pool, Replica, Replicas, Source
from controlplane.resources.endpoints import EndpointWeight, Member, assignment, members
from controlplane.resources.messages import to_json
from controlplane.resources.resource import CLUSTER, TYPE_URLS, Resource
from tests.fleet.fleets import a_pool, pool_settings
from tests.resources import decoded
from tests.resources.decoded import catalog

MAX = 2**32 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LABELS = st.sampled_from(["", "eu", "eu-1", "é" * 70])
ADDRESSES = st.builds(Address, st.ip_addresses().map(str), st.integers(0, 65535))

Placed = tuple[Pool, dict[str, EndpointWeight]]


@st.composite
def replicas(draw: st.DrawFn, id_: str) -> Replica:
    """A replica with an id, anywhere; its settings are not validated, so labels may be any text."""
    where = Locality.model_construct(region=draw(st.none() | LABELS), zone=draw(LABELS))
    found = ReplicaSettings.model_construct(address=draw(ADDRESSES), locality=where)
    draining = draw(st.none() | st.just(Draining.OPERATOR))
    return Replica(id_, found, Source.FILE, generation=1, draining=draining)


@st.composite
def portions_of(draw: st.DrawFn, ids: Collection[str]) -> dict[str, EndpointWeight]:
    """Portions that fit into a locality, even if all are in one."""
    most = MAX // max(len(ids), 1)
    # Around where a number needs another byte, and in between.
    edges = [weight for weight in (0, 1, 127, 128, 16_383, 16_384, most) if weight <= most]
    weights = st.sampled_from(edges) | st.integers(0, most)
    return {id_: EndpointWeight(draw(LABELS), draw(weights), draw(st.booleans())) for id_ in ids}


@st.composite
def placed(draw: st.DrawFn) -> Placed:
    """A pool of up to 20 replicas, each with a portion."""
    ids = draw(st.lists(TEXT, unique=True, max_size=20))
    found = {id_: draw(replicas(id_)) for id_ in ids}
    return Pool(draw(TEXT), pool_settings(), Source.FILE, Replicas(found)), draw(portions_of(ids))


def by_betterproto2(pool: Pool, endpoint_weights: dict[str, EndpointWeight]) -> bytes:
    """The same assignment, built as a message."""

    def place(member: Member) -> tuple[str, str, str]:
        return member.place.region, member.place.zone, member.tier

    by_place = groupby(sorted(members(pool, endpoint_weights), key=place), key=place)
    return bytes(
        endpoint_v3.ClusterLoadAssignment(
            cluster_name=pool.name,
            endpoints=[locality(*where, list(found)) for where, found in by_place],
            policy=endpoint_v3.ClusterLoadAssignmentPolicy(overprovisioning_factor=100),
        )
    )


def locality(
    region: str, zone: str, tier: str, found: list[Member]
) -> endpoint_v3.LocalityLbEndpoints:
    return endpoint_v3.LocalityLbEndpoints(
        locality=core_v3.Locality(region=region, zone=zone, sub_zone=tier),
        load_balancing_weight=sum(member.weight for member in found),
        lb_endpoints=[lb_endpoint(member) for member in found],
    )


def lb_endpoint(member: Member) -> endpoint_v3.LbEndpoint:
    host, port = member.address.host, member.address.port
    status = core_v3.HealthStatus
    return endpoint_v3.LbEndpoint(
        endpoint=endpoint_v3.Endpoint(
            address=core_v3.Address(
                socket_address=core_v3.SocketAddress(address=host, port_value=port)
            ),
            health_check_config=endpoint_v3.EndpointHealthCheckConfig(hostname=str(member.address)),
            hostname=member.id,
        ),
        health_status=status.DRAINING if member.draining else status.UNKNOWN,
        load_balancing_weight=member.weight,
    )


@given(placed())
def test_an_assignment_is_encoded_as_betterproto2_does(given_: Placed) -> None:
    assert decoded.encoded(*given_) == by_betterproto2(*given_)


@settings(max_examples=30)
@given(placed(), st.data())
def test_changed_portions_are_encoded_right_after_others(
    given_: Placed, data: st.DataObject
) -> None:
    pool, endpoint_weights = given_
    before = members(pool, endpoint_weights)
    changed = data.draw(portions_of(pool.replicas))
    after = members(pool, changed, (pool, endpoint_weights, before))
    assert after == members(pool, changed)
    assert assignment(pool.name, after) == by_betterproto2(pool, changed)


@settings(max_examples=30)
@given(placed(), st.data())
def test_replicas_that_moved_are_encoded_right_after_they_were_elsewhere(
    given_: Placed, data: st.DataObject
) -> None:
    pool, endpoint_weights = given_
    before = members(pool, endpoint_weights)
    ids = data.draw(st.sets(st.sampled_from(sorted(pool.replicas)))) if pool.replicas else set()
    gone = data.draw(st.sets(st.sampled_from(sorted(pool.replicas)))) if pool.replicas else set()
    put = {id_: data.draw(replicas(id_)) for id_ in ids}
    moved = replace(pool, replicas=pool.replicas.updated(put, gone))
    known = (pool, endpoint_weights, before)
    after = members(moved, endpoint_weights, known, ids | gone)
    assert after == members(moved, endpoint_weights, known)
    assert after == members(moved, endpoint_weights)
    assert assignment(moved.name, after) == by_betterproto2(moved, endpoint_weights)


def test_weights_that_are_too_much_for_their_locality_are_an_error() -> None:
    fleet, endpoint_weights = decoded.placed(a=EndpointWeight("x", MAX), b=EndpointWeight("x", 1))
    with pytest.raises(ValueError, match=f"{MAX + 1} does not fit"):
        decoded.encoded(fleet.pool("p"), endpoint_weights)


@given(
    st.sampled_from(TYPE_URLS),
    TEXT,
    st.binary(max_size=300) | st.binary(min_size=20_000, max_size=20_000),
)
def test_a_resource_is_packed_as_betterproto2_does(url: str, name: str, message: bytes) -> None:
    resource = Resource.of(url, name, message)
    packed = protobuf.Any(type_url=url, value=message)
    framed = discovery_v3.Resource(name=name, version=resource.version, resource=packed)
    assert resource.packed == bytes(packed)
    assert discovery_v3.Resource.parse(resource.framed) == framed


@pytest.mark.parametrize("weight", [-1, MAX + 1])
def test_a_weight_that_does_not_fit_is_an_error(weight: int) -> None:
    fleet, endpoint_weights = decoded.placed(a=EndpointWeight("x", weight))
    with pytest.raises(ValueError, match=f"{weight} does not fit into 32 bits"):
        decoded.encoded(fleet.pool("p"), endpoint_weights)


def test_fields_are_named_as_in_protobufs_json() -> None:
    cluster, _ = catalog(a_pool(a=1)).pools["p"].resources[CLUSTER]
    ejection = to_json(CLUSTER, cluster)["outlierDetection"]
    assert ejection["consecutive5xx"] == 5
    assert ejection["baseEjectionTime"] == "1s"
