"""What Envoys hold of a mesh: transport sockets, endpoints, who may use a pool, and the ingress."""

from typing import Any

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.config.rbac.v3 as rbac_v3
import envoy_data_plane.envoy.config.route.v3 as route_v3
import envoy_data_plane.envoy.extensions.filters.http.rbac.v3 as http_rbac_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest

from controlplane.balancing import Place
from controlplane.config import Address, PoolSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.resources import pool_resources
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.endpoints import EndpointWeight
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot
from controlplane.resources.secret_sources import ADS, SPIRE, SecretSource
from controlplane.resources.tls import RBAC_FILTER
from controlplane.resources.views import View
from tests.fleet.fleets import after, put
from tests.resources.decoded import TIER

PLAIN, SECURED = View(), View(identity=ADS)
BESIDE = View(
    ("p",), (("p", Address("10.0.0.1", 443)),), identity=ADS, replica=Address("127.0.0.1", 9001)
)
TLS_1_3 = tls_v3.TlsParametersTlsProtocol.TLSv1_3


def fleet(mode: str, **mesh: Any) -> Fleet:
    """A pool of a replica with an ingress and of one without."""
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}}
    settings = validated(PoolSettings, {**body, "mesh": {"mode": mode, **mesh}})
    return after(PutPool("p", settings), put("a", 9001, ingress="10.0.0.1:443"), put("b", 9002))


def catalog(mode: str, previous: Catalog | None = None, **mesh: Any) -> Catalog:
    endpoint_weights = {"p": {"a": TIER, "b": TIER}}
    return build(fleet(mode, **mesh), endpoint_weights, previous or Catalog(trust_domain="td"))


def content(resource: Resource | None) -> bytes:
    assert resource is not None
    return protobuf.Any.parse(resource.packed).value


def cluster(shown: Snapshot, name: str = "p") -> cluster_v3.Cluster:
    return cluster_v3.Cluster.parse(content(shown.get(CLUSTER, name)))


def endpoints(shown: Snapshot) -> dict[str, endpoint_v3.LbEndpoint]:
    found = endpoint_v3.ClusterLoadAssignment.parse(content(shown.get(ENDPOINT, "p")))
    return {
        endpoint.endpoint.hostname: endpoint
        for locality in found.endpoints
        for endpoint in locality.lb_endpoints
        if endpoint.endpoint is not None
    }


def upstream(socket: core_v3.TransportSocket | None) -> tls_v3.CommonTlsContext:
    assert socket is not None
    assert socket.typed_config is not None
    found = tls_v3.UpstreamTlsContext.parse(socket.typed_config.value).common_tls_context
    assert found is not None
    return found


def test_requests_go_to_the_ingress_of_a_replica_that_has_one() -> None:
    found = endpoints(catalog("off").view(PLAIN))
    ports = {
        id_: item.endpoint.address.socket_address.port_value  # type: ignore[union-attr]
        for id_, item in found.items()
    }
    assert ports == {"a": 443, "b": 9002}
    assert found["a"].metadata is not None
    known = found["a"].metadata.filter_metadata["envoy.transport_socket_match"].to_dict()
    assert known == {"plimsoll.identity": "mtls"}
    assert found["b"].metadata is None


def test_the_replica_is_asked_for_its_health_under_its_own_name() -> None:
    found = endpoints(catalog("off").view(PLAIN))["a"].endpoint
    assert found is not None
    assert found.health_check_config is not None
    assert found.health_check_config.hostname == "127.0.0.1:9001"


@pytest.mark.parametrize("name", ["p", "p/retries"])
def test_a_permissive_pool_has_tls_with_ingresses_and_plain_text_with_others(name: str) -> None:
    found = cluster(catalog("permissive").view(SECURED), name)
    assert found.transport_socket is None
    assert [
        (
            match.match.to_dict() if match.match is not None else None,
            match.transport_socket and match.transport_socket.name,
        )
        for match in found.transport_socket_matches
    ] == [
        ({"plimsoll.identity": "mtls"}, "envoy.transport_sockets.tls"),
        ({}, "envoy.transport_sockets.raw_buffer"),
    ]


@pytest.mark.parametrize("name", ["p", "p/retries"])
def test_a_strict_pool_has_tls_alone(name: str) -> None:
    found = cluster(catalog("strict").view(SECURED), name)
    assert found.transport_socket is not None
    assert found.transport_socket.name == "envoy.transport_sockets.tls"
    assert not found.transport_socket_matches


def test_an_egress_takes_only_ingresses_of_the_pool_and_no_old_tls() -> None:
    context = upstream(cluster(catalog("strict").view(SECURED)).transport_socket)
    assert context.tls_params is not None
    versions = context.tls_params
    assert versions.tls_minimum_protocol_version == TLS_1_3
    assert versions.tls_maximum_protocol_version == TLS_1_3
    assert context.combined_validation_context is not None
    trusted = context.combined_validation_context
    assert trusted.default_validation_context is not None
    (name,) = trusted.default_validation_context.match_typed_subject_alt_names
    assert name.san_type == tls_v3.SubjectAltNameMatcherSanType.URI
    assert name.matcher is not None
    assert name.matcher.exact == "spiffe://td/pool/p"
    assert trusted.validation_context_sds_secret_config is not None
    assert trusted.validation_context_sds_secret_config.name == "roots"
    (own,) = context.tls_certificate_sds_secret_configs
    assert own.name == "identity"
    assert own.sds_config is not None
    assert own.sds_config.ads is not None


def test_secrets_come_from_the_files_that_an_envoy_names() -> None:
    view = View(identity=SecretSource.in_folder("/etc/mesh"))
    context = upstream(cluster(catalog("strict").view(view)).transport_socket)
    (own,) = context.tls_certificate_sds_secret_configs
    assert own.sds_config is not None
    source = own.sds_config.path_config_source
    assert source is not None
    assert source.path == "/etc/mesh/identity.json"
    assert source.watched_directory is not None
    assert source.watched_directory.path == "/etc/mesh"


@pytest.mark.parametrize(("mode", "view"), [("off", SECURED), ("permissive", PLAIN)])
def test_whoever_has_no_mesh_has_the_cluster_as_without(mode: str, view: View) -> None:
    assert content(catalog(mode).view(view).get(CLUSTER, "p")) == content(
        catalog("off").view(PLAIN).get(CLUSTER, "p")
    )


def test_an_envoy_without_certificates_gets_no_replica_of_a_strict_pool() -> None:
    held = catalog("strict")
    assert not endpoints(held.view(PLAIN))
    assert endpoints(held.view(SECURED)).keys() == {"a", "b"}


@pytest.mark.parametrize("view", [PLAIN, SECURED, BESIDE])
@pytest.mark.parametrize(
    ("before", "after_"),
    [
        ({"mode": "off"}, {"mode": "permissive"}),
        ({"mode": "permissive"}, {"mode": "strict"}),
        ({"mode": "strict"}, {"mode": "strict", "clients": ["a"]}),
    ],
)
def test_a_change_of_the_mesh_names_every_resource_that_differs(
    view: View, before: dict[str, Any], after_: dict[str, Any]
) -> None:
    old = catalog(**before)
    new = catalog(previous=old, **after_)
    changes = new.view(view).changed_since(old.revision)
    assert changes is not None
    for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE):
        was, now = old.view(view).type(url), new.view(view).type(url)
        other = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
        assert other <= changes.get(url, frozenset())


def test_clusters_stay_the_same_objects_while_only_weights_change() -> None:
    old = catalog("strict")
    before = old.view(SECURED).get(CLUSTER, "p")
    endpoint_weights = {"p": {"a": TIER, "b": EndpointWeight("tier-1", 50)}}
    new = build(fleet("strict"), endpoint_weights, old)
    assert new is not old
    assert new.view(SECURED).get(CLUSTER, "p") is before


def chains(held: Catalog, view: View = BESIDE) -> dict[str, listener_v3.FilterChain]:
    listener = listener_v3.Listener.parse(content(held.view(view).get(LISTENER, "ingress")))
    return {chain.name: chain for chain in listener.filter_chains}


@pytest.mark.parametrize(
    ("mode", "has"),
    [("off", {"tls", "raw_buffer"}), ("permissive", {"tls", "raw_buffer"}), ("strict", {"tls"})],
)
def test_an_ingress_takes_plain_text_unless_its_pool_is_strict(mode: str, has: set[str]) -> None:
    assert chains(catalog(mode)).keys() == has


def test_an_ingress_without_certificates_takes_nothing_of_a_strict_pool() -> None:
    view = View(("p",), BESIDE.listen, replica=BESIDE.replica)
    assert chains(catalog("permissive"), view).keys() == {"raw_buffer"}
    assert not catalog("strict").view(view).names(LISTENER)
    assert catalog("strict").view(view).get(LISTENER, "ingress") is None


def test_an_ingress_wants_certificates_and_resumes_no_session() -> None:
    socket = chains(catalog("strict"))["tls"].transport_socket
    assert socket is not None
    assert socket.typed_config is not None
    context = tls_v3.DownstreamTlsContext.parse(socket.typed_config.value)
    assert context.require_client_certificate
    assert context.disable_stateless_session_resumption
    assert context.disable_stateful_session_resumption


def policy(held: Catalog) -> rbac_v3.Rbac | None:
    """Who may use the pool by the routes of its ingress; None: anybody."""
    resource = held.view(BESIDE).get(ROUTE, "ingress")
    (host,) = route_v3.RouteConfiguration.parse(content(resource)).virtual_hosts
    per_route = http_rbac_v3.RbacPerRoute.parse(host.typed_per_filter_config[RBAC_FILTER].value)
    return None if per_route.rbac is None else per_route.rbac.rules


@pytest.mark.parametrize(
    ("clients", "exact", "prefix"),
    [
        (None, "", "spiffe://td/node/"),
        (["web"], "spiffe://td/node/web", ""),
        (["web-*"], "", "spiffe://td/node/web-"),
        (["spiffe://other/a"], "spiffe://other/a", ""),
        (["spiffe://other/a/*"], "", "spiffe://other/a/"),
    ],
)
def test_clients_of_a_strict_pool_are_known_by_their_spiffe_ids(
    clients: list[str] | None, exact: str, prefix: str
) -> None:
    rules = policy(catalog("strict", clients=clients))
    assert rules is not None
    assert rules.action == rbac_v3.RbacAction.ALLOW
    (principal,) = rules.policies["clients"].principals
    assert principal.authenticated is not None
    assert principal.authenticated.principal_name is not None
    name = principal.authenticated.principal_name
    assert (name.exact or "", name.prefix or "") == (exact, prefix)


def test_nobody_uses_a_strict_pool_that_names_no_client() -> None:
    rules = policy(catalog("strict", clients=[]))
    assert rules is not None
    assert not rules.policies


@pytest.mark.parametrize("mode", ["off", "permissive"])
def test_anybody_uses_a_pool_that_is_not_strict(mode: str) -> None:
    assert policy(catalog(mode)) is None


def test_an_ingress_holds_its_own_resources_and_no_others() -> None:
    shown = catalog("strict").view(BESIDE)
    assert set(shown.names(CLUSTER)) == {"ingress", "ingress/retries"}
    assert [*shown.names(LISTENER)] == [*shown.names(ROUTE)] == ["ingress"]
    assert not shown.names(ENDPOINT)
    assert shown.get(CLUSTER, "p") is None


def test_an_ingress_holds_nothing_once_its_pool_is_gone() -> None:
    held = catalog("strict")
    gone = build(Fleet(), {}, held)
    shown = gone.view(BESIDE)
    assert not any(shown.names(url) for url in (CLUSTER, LISTENER, ROUTE))
    changes = shown.changed_since(held.revision)
    assert changes is not None
    assert changes[LISTENER] == {"ingress"}


def test_a_spire_agent_is_asked_for_its_own_names() -> None:
    shown = catalog("strict").view(View(identity=SPIRE))
    common = upstream(cluster(shown).transport_socket)
    combined = common.combined_validation_context
    assert combined is not None
    roots = combined.validation_context_sds_secret_config
    assert roots is not None
    configs = [*common.tls_certificate_sds_secret_configs, roots]
    assert [item.name for item in configs] == ["default", "ROOTCA"]
    for config in configs:
        assert config.sds_config is not None
        source = config.sds_config.api_config_source
        assert source is not None
        assert source.api_type == core_v3.ApiConfigSourceApiType.GRPC
        assert source.grpc_services[0].envoy_grpc is not None
        assert source.grpc_services[0].envoy_grpc.cluster_name == "spire_agent"


def test_what_is_made_for_envoys_that_have_left_is_not_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_resources, "MAX_SEEN", 3)
    held = catalog("strict")
    made = held.pools["p"]
    wanted = content(held.view(SECURED).get(CLUSTER, "p"))
    for number in range(20):
        source = SecretSource(f"/{number}/identity.json", f"/{number}/roots.json")
        place = Place("region", f"zone-{number}")
        view = View(identity=source, place=place)
        assert f"/{number}/".encode() in content(held.view(view).get(CLUSTER, "p"))
        assert held.view(View(identity=ADS, place=place)).get(ENDPOINT, "p") is not None
        assert max(len(made._secured), len(made._made)) <= 3
    assert content(held.view(SECURED).get(CLUSTER, "p")) == wanted
