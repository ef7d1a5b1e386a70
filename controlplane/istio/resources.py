"""What istiod holds of each pool: a ServiceEntry, which lists its replicas, and a DestinationRule.

With both, Envoy gets one locality for each capacity tier and the weights of localities count: a
locality setting with a failover priority that all replicas meet alike, and outlier detection, make
istiod switch that on and leave all tiers in one priority (`ApplyToCluster` in
istio/pilot/pkg/networking/core/loadbalancer).

istiod accepts everything and then drops what it finds wrong, so nothing wrong may leave here.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from controlplane.config import COMPARING, BalancingSettings, PoolSettings
from controlplane.config.balancing import HASHING, HashSettings
from controlplane.config.config import MAX_HOST, IstioSettings, is_dns_name
from controlplane.protos import envoy_pb2 as envoy
from controlplane.protos import istio_pb2 as pb
from controlplane.resources.endpoints import Member
from controlplane.resources.grpc_clients import available
from controlplane.resources.pool_resources import PoolResources

SERVICE_ENTRY: Final = "ServiceEntry"
DESTINATION_RULE: Final = "DestinationRule"

BALANCED_BY: Final = ("balanced-by", "plimsoll")
"""A label that every replica has: what all have in common makes no priorities."""

_PORT: Final = "requests"
"""The name of a host's only port."""

_YOUNGEST: Final = Timestamp(seconds=253_402_300_799)
"""The end of the year 9999. Of two hosts of one name Istio takes the older: never ours."""

_TABLE_SIZE: Final = 65_537
"""Envoy's own default for Maglev; Istio requires a value."""

_PREFIX: Final = r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_QUALIFIED: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY: Final = re.compile(rf"({_PREFIX}(\.{_PREFIX})*/)?{_QUALIFIED}", re.ASCII)
_LABEL_VALUE: Final = re.compile(rf"({_QUALIFIED})?", re.ASCII)
_LOCALITY_LABELS: Final = frozenset({"istio-locality", "topology.istio.io/locality"})
"""Labels that would take the place of the locality, which is the tier."""


class Resource(NamedTuple):
    """A resource as it goes over the wire.

    Attributes:
        version: Hash of the content: istiod takes no notice of a change under a known version.
        packed: An ``istio.mcp.v1alpha1.Resource`` in a ``google.protobuf.Any``, encoded.
    """

    version: str
    packed: bytes


class PoolInMesh(NamedTuple):
    """The resources of a pool."""

    service_entry: Resource
    destination_rule: Resource


Known: TypeAlias = Mapping[str, tuple[PoolResources, PoolInMesh]]
"""By the pool's name, and what each was built from."""


class Configuration(NamedTuple):
    """All that istiod is given at one moment.

    Attributes:
        pools: Those that it gets.
        left_out: Why each other pool is not given to it, by name.
    """

    pools: Known
    left_out: Mapping[str, str]

    def of(self, kind: str) -> list[Resource]:
        """The resources of a kind; none of any other than the two."""
        if kind == SERVICE_ENTRY:
            return [made.service_entry for _, made in self.pools.values()]
        if kind == DESTINATION_RULE:
            return [made.destination_rule for _, made in self.pools.values()]
        return []


NOTHING: Final = Configuration({}, {})


def configure(
    pools: Mapping[str, PoolResources], settings: IstioSettings, known: Configuration = NOTHING
) -> Configuration:
    """Build what istiod is given."""
    made: dict[str, tuple[PoolResources, PoolInMesh]] = {}
    left_out: dict[str, str] = {}
    for name in sorted(pools):
        held, before = pools[name], known.pools.get(name)
        if (why := refusal(name, held.pool.settings, settings.domain)) is not None:
            left_out[name] = why
        elif before is not None and before[0] is held:
            made[name] = before
        else:
            made[name] = (held, pool_in_mesh(held, settings))
    return Configuration(made, left_out)


def refusal(name: str, settings: PoolSettings, domain: str) -> str | None:
    """Why a pool cannot be given to istiod, as a sentence; None: it can."""
    if not is_dns_name(name) or len(host_of(name, domain)) > MAX_HOST:
        return "its name cannot begin a host name: use lower-case letters, digits, dashes and dots"
    if settings.upstream.tls is not None:
        return "its replicas speak TLS, and istiod is not told by which authority"
    if settings.mesh.mode == "strict":
        return "its mesh is strict: the sidecars of Istio have no certificate of it"
    return None


def host_of(name: str, domain: str) -> str:
    """The host name of a pool."""
    return f"{name}.{domain}"


def pool_in_mesh(held: PoolResources, settings: IstioSettings) -> PoolInMesh:
    """Build the resources of a pool."""
    name, pool = held.pool.name, held.pool.settings
    host = host_of(name, settings.domain)
    listed = [_endpoint(member) for member in available(held.members)]
    port = pb.ServicePort(number=settings.port, protocol=_protocol(pool), name=_PORT)
    entry = pb.ServiceEntry(
        hosts=[host],
        ports=[port],
        location=pb.ServiceEntry.MESH_INTERNAL,
        resolution=pb.ServiceEntry.STATIC,
        endpoints=listed,
    )
    rule = destination_rule(host, pool.balancing)
    full_name = f"{settings.namespace}/{name}"
    return PoolInMesh(
        _resource(full_name, SERVICE_ENTRY, entry), _resource(full_name, DESTINATION_RULE, rule)
    )


def destination_rule(host: str, balancing: BalancingSettings) -> pb.DestinationRule:
    """How sidecars choose a replica of a host."""
    locality = pb.LocalityLoadBalancerSetting(
        enabled=BoolValue(value=True), failover_priority=["=".join(BALANCED_BY)]
    )
    if balancing.hash is not None:
        balancer = pb.LoadBalancerSettings(
            consistent_hash=_consistent_hash(balancing.hash, balancing.policy)
        )
    elif balancing.policy in COMPARING:
        balancer = pb.LoadBalancerSettings(simple=pb.LoadBalancerSettings.LEAST_REQUEST)
    else:
        balancer = pb.LoadBalancerSettings(simple=pb.LoadBalancerSettings.ROUND_ROBIN)
    balancer.locality_lb_setting.CopyFrom(locality)
    return pb.DestinationRule(
        host=host,
        traffic_policy=pb.TrafficPolicy(
            load_balancer=balancer,
            # As far as Istio has it, what an Envoy of Plimsoll's does.
            outlier_detection=pb.OutlierDetection(
                interval=Duration(seconds=1),
                base_ejection_time=Duration(seconds=5),
                # Of two replicas, one.
                max_ejection_percent=50,
                consecutive_5xx_errors=UInt32Value(value=5),
            ),
        ),
    )


def _consistent_hash(hashed: HashSettings, policy: str) -> pb.ConsistentHash:
    made = pb.ConsistentHash()
    if hashed.header is not None:
        made.http_header_name = hashed.header
    elif hashed.cookie is not None:
        made.http_cookie.name = hashed.cookie
        if hashed.ttl is not None:
            made.http_cookie.ttl.CopyFrom(Duration(seconds=round(hashed.ttl)))
    else:
        made.use_source_ip = True
    if policy == HASHING[0]:
        made.ring_hash.SetInParent()
    else:
        made.maglev.table_size = _TABLE_SIZE
    return made


def _protocol(pool: PoolSettings) -> str:
    if pool.is_grpc:
        return "GRPC"
    return "HTTP2" if pool.upstream.protocol == "http2" else "HTTP"


def _endpoint(member: Member) -> bytes:
    labels = frozenset(_labels(member.labels))
    place = (member.place.region, member.place.zone, member.tier)
    return _encoded(member.address.host, member.address.port, place, member.weight, labels)


@lru_cache(maxsize=1 << 16)
def _encoded(
    host: str,
    port: int,
    place: tuple[str, str, str],
    weight: int,
    labels: frozenset[tuple[str, str]],
) -> bytes:
    """Encode a ``WorkloadEntry``; what it depends on are its arguments, so none is ever stale."""
    return _deterministic(
        pb.WorkloadEntry(
            address=host,
            ports={_PORT: port},
            labels=dict(labels),
            # Istio takes a slash for the end of a region or zone.
            locality="/".join(part.replace("/", "-") for part in place),
            # Istio takes 0 for 1 as well.
            weight=max(weight, 1),
        )
    )


def _labels(labels: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """The labels that Istio takes; one that it does not would cost the whole pool."""
    for key, value in labels.items():
        if (
            key not in _LOCALITY_LABELS
            and key != BALANCED_BY[0]
            and _LABEL_KEY.fullmatch(key)
            and _LABEL_VALUE.fullmatch(value)
        ):
            yield key, value
    yield BALANCED_BY


def _resource(full_name: str, kind: str, message: Message) -> Resource:
    body = envoy.Any(
        type_url=f"type.googleapis.com/istio.networking.v1alpha3.{kind}",
        value=_deterministic(message),
    ).SerializeToString()
    version = blake2b(body, digest_size=8).hexdigest()
    metadata = pb.Metadata(name=full_name, create_time=_YOUNGEST, version=version)
    packed = envoy.Any(
        type_url="type.googleapis.com/istio.mcp.v1alpha1.Resource",
        value=pb.Resource(metadata=metadata, body=body).SerializeToString(),
    ).SerializeToString()
    return Resource(version, packed)


def _deterministic(message: Message) -> bytes:
    # Maps have no order, and versions are hashes.
    return message.SerializeToString(deterministic=True)
