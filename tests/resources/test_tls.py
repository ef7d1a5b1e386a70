"""What Envoys are told of TLS: by which files, verified how, and no key among it."""

import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.listener.v3 as listener_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3 as http_v3
import envoy_data_plane.envoy.service.health.v3 as health_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config import Address, PoolSettings, validated
from controlplane.config.tls import GatewayTls
from controlplane.fleet import PutPool
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.clusters import cluster, retry_cluster
from controlplane.resources.health_checks import HealthTarget, health_check_specifier
from controlplane.resources.messages import to_json
from controlplane.resources.resource import CLUSTER, LISTENER, SECRET, Snapshot
from controlplane.resources.routes import GATEWAY
from controlplane.resources.tls import SYSTEM_BUNDLE
from controlplane.resources.views import View
from tests.fleet.fleets import a_pool, after
from tests.resources.decoded import a_pool_with, catalog, decoded_cluster, decoded_listener

FILES = {"certificate": "/t/tls.crt", "key": "/t/tls.key"}
LISTENER_TLS = {"address": "127.0.0.1:10000", "tls": {**FILES, "client_ca": "/t/ca.crt"}}
UPSTREAM = {"tls": {"ca": "/r/ca.crt", "server_name": "r.test"}}
BEST = tls_v3.TlsParameters(
    tls_minimum_protocol_version=tls_v3.TlsParametersTlsProtocol.TLSv1_2,
    tls_maximum_protocol_version=tls_v3.TlsParametersTlsProtocol.TLSv1_3,
)


def seen(view: View = View(), **settings: object) -> Snapshot:  # noqa: B008 - it is a value
    body = {"model": "m", "listener": {"address": "127.0.0.1:10000"}, **settings}
    return catalog(after(PutPool("p", validated(PoolSettings, body)))).view(view)


def downstream(snapshot: Snapshot, name: str = "p") -> tls_v3.DownstreamTlsContext:
    resource = snapshot.get(LISTENER, name)
    assert resource is not None
    text = to_json(LISTENER, resource)
    assert text["filterChains"][0]["transportSocket"]["name"] == "envoy.transport_sockets.tls"
    packed = protobuf.Any.parse(resource.packed).value
    (chain,) = listener_v3.Listener.parse(packed).filter_chains
    return tls_v3.DownstreamTlsContext.parse(config(chain.transport_socket))


def config(socket: core_v3.TransportSocket | None) -> bytes:
    assert socket is not None
    assert socket.typed_config is not None
    return socket.typed_config.value


def upstream(encoded: bytes) -> tls_v3.UpstreamTlsContext:
    return tls_v3.UpstreamTlsContext.parse(
        config(cluster_v3.Cluster.parse(encoded).transport_socket)
    )


def names(configs: list[tls_v3.SdsSecretConfig]) -> list[str]:
    assert all(item.sds_config is not None and item.sds_config.ads is not None for item in configs)
    return [each.name for each in configs]


def test_in_plain_text_there_is_no_secret_and_no_socket_of_tls() -> None:
    assert seen().type(SECRET) == {}
    assert decoded_listener("p", Address("127.0.0.1", 1)).filter_chains[0].transport_socket is None
    assert decoded_cluster(a_pool_with()).transport_socket is None


def test_secrets_name_files_and_the_folder_to_watch_and_hold_nothing_of_them() -> None:
    secrets = seen(listener=LISTENER_TLS, upstream=UPSTREAM).type(SECRET)
    assert {name: to_json(SECRET, secret) for name, secret in secrets.items()} == {
        "p/certificate": {
            "name": "p/certificate",
            "tlsCertificate": {
                "certificateChain": {"filename": "/t/tls.crt"},
                "privateKey": {"filename": "/t/tls.key"},
                "watchedDirectory": {"path": "/t"},
            },
        },
        **{
            name: {
                "name": name,
                "validationContext": {
                    "trustedCa": {"filename": f"{folder}/ca.crt"},
                    "watchedDirectory": {"path": folder},
                },
            }
            for name, folder in (("p/clients", "/t"), ("p/replicas", "/r"))
        },
    }


def test_the_certificates_that_a_machine_trusts_are_in_a_file() -> None:
    (secret,) = seen(upstream={"tls": {"ca": "system"}}).type(SECRET).values()
    trusted = to_json(SECRET, secret)["validationContext"]["trustedCa"]
    assert trusted == {"filename": SYSTEM_BUNDLE}


def test_a_listener_offers_http2_and_takes_clients_of_an_authority_alone() -> None:
    context = downstream(seen(listener=LISTENER_TLS))
    common = context.common_tls_context
    assert common is not None
    assert common.alpn_protocols == ["h2", "http/1.1"]
    assert common.tls_params == BEST
    assert names(common.tls_certificate_sds_secret_configs) == ["p/certificate"]
    clients = common.validation_context_sds_secret_config
    assert clients is not None
    assert names([clients]) == ["p/clients"]
    assert context.require_client_certificate
    # A session that is resumed asks for no certificate, however long it has expired.
    assert context.disable_stateless_session_resumption
    assert context.disable_stateful_session_resumption


def test_a_gateway_has_certificates_of_its_own() -> None:
    files = [FILES, {"certificate": "/o/tls.crt", "key": "/o/tls.key"}]
    tls = validated(GatewayTls, {"certificates": files})
    snapshot = seen(View(gateway=Address("0.0.0.0", 443), tls=tls), listener=LISTENER_TLS)
    common = downstream(snapshot, GATEWAY).common_tls_context
    assert common is not None
    own = names(common.tls_certificate_sds_secret_configs)
    assert common.validation_context_sds_secret_config is None
    found = [snapshot.get(SECRET, name) for name in own]
    chains = [
        to_json(SECRET, item)["tlsCertificate"]["certificateChain"]["filename"]
        for item in found
        if item is not None
    ]
    assert chains == ["/t/tls.crt", "/o/tls.crt"]


def test_every_cluster_of_a_pool_verifies_replicas_by_name() -> None:
    pool = a_pool_with(upstream=UPSTREAM)
    for encoded in (cluster(pool), retry_cluster(pool, "p")):
        context = upstream(encoded)
        assert (context.sni, context.auto_host_sni) == ("r.test", False)
        assert context.auto_sni_san_validation
        assert context.max_session_keys == 0
        common = context.common_tls_context
        assert common is not None
        assert common.tls_params == BEST
        assert common.alpn_protocols == ["http/1.1"]
        trusted = common.validation_context_sds_secret_config
        assert trusted is not None
        assert names([trusted]) == ["p/replicas"]


def test_without_a_name_each_replica_is_verified_by_its_id() -> None:
    context = upstream(cluster(a_pool_with(upstream={"tls": {"ca": "system"}})))
    assert (context.sni, context.auto_host_sni, context.auto_sni_san_validation) == ("", True, True)


def test_requests_and_checks_over_http2_are_sent_in_it() -> None:
    pool = a_pool_with(upstream={"protocol": "http2", **UPSTREAM})
    for encoded in (cluster(pool), retry_cluster(pool, "p")):
        message = cluster_v3.Cluster.parse(encoded)
        (options,) = message.typed_extension_protocol_options.values()
        explicit = http_v3.HttpProtocolOptions.parse(options.value).explicit_http_config
        assert explicit is not None
        assert explicit.http2_protocol_options is not None
        (check,) = message.health_checks
        assert check.http_health_check is not None
        assert check.http_health_check.codec_client_type == type_v3.CodecClientType.HTTP2
        common = upstream(encoded).common_tls_context
        assert common is not None
        assert common.alpn_protocols == ["h2"]


def test_a_server_of_grpc_is_asked_about_its_service_with_metadata() -> None:
    check = {"protocol": "grpc", "service": "a.B", "host": "r.test", "headers": {"x-probe": "50%"}}
    pool = a_pool_with(upstream={"protocol": "http2"}, health_check=check)
    (message,) = decoded_cluster(pool).health_checks
    found = message.grpc_health_check
    assert message.http_health_check is None
    assert found is not None
    assert (found.service_name, found.authority) == ("a.B", "r.test")
    (header,) = found.initial_metadata
    assert header.header is not None
    assert (header.header.key, header.header.value) == ("x-probe", "50%%")


def test_checks_that_an_envoy_is_asked_for_go_over_tls_too() -> None:
    replica = a_pool(r0=9000).pool("p").replicas["r0"]
    encoded = health_check_specifier([HealthTarget(a_pool_with(upstream=UPSTREAM), replica)])
    (asked,) = pb.HealthCheckSpecifier.FromString(encoded).cluster_health_checks
    (match,) = health_v3.ClusterHealthCheck.parse(
        asked.SerializeToString()
    ).transport_socket_matches
    context = tls_v3.UpstreamTlsContext.parse(config(match.transport_socket))
    assert (context.sni, context.auto_sni_san_validation) == ("r.test", True)


def test_a_pool_that_turns_to_tls_changes_its_listener_or_its_clusters_alone() -> None:
    before, listener = seen(), seen(listener=LISTENER_TLS)
    upstreams = seen(upstream=UPSTREAM)

    def differ(one: Snapshot, other: Snapshot) -> set[str]:
        return {
            url
            for url in (CLUSTER, LISTENER)
            if [item.version for item in one.type(url).values()]
            != [each.version for each in other.type(url).values()]
        }

    assert differ(before, listener) == {LISTENER}
    assert differ(before, upstreams) == {CLUSTER}
