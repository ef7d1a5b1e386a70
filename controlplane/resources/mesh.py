"""Mutual TLS between Envoys: the transport sockets of both sides, and who may use a pool.

The Envoy of a client (egress) and the one beside a replica (ingress) show each other certificates
with SPIFFE ids: ``spiffe://TRUST-DOMAIN/node/ID`` and ``spiffe://TRUST-DOMAIN/pool/NAME``. To an
egress an ingress of another pool is a stranger.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import betterproto2
import envoy_data_plane.envoy.config.cluster.v3 as cluster_v3
import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.envoy.config.rbac.v3 as rbac_v3
import envoy_data_plane.envoy.extensions.filters.http.rbac.v3 as http_rbac_v3
import envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 as raw_buffer_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import envoy_data_plane.google.protobuf as protobuf

from controlplane.config.tls import MeshSettings
from controlplane.resources.bootstrap_tls import IDENTITY, ROOTS
from controlplane.resources.secret_sources import SecretSource

RENEWED: Final = timedelta(seconds=10)
"""For which an egress uses a connection. One that is open knows nothing of a certificate that was
replaced since, nor of a pool that has become strict."""

RBAC_FILTER: Final = "envoy.filters.http.rbac"

_MATCH: Final = "envoy.transport_socket_match"
_KEY: Final = "plimsoll.identity"
_MTLS: Final = "mtls"


class Trust(NamedTuple):
    """What an Envoy needs for mutual TLS.

    Attributes:
        secrets: Where its certificate and its roots come from.
        domain: The trust domain.
    """

    secrets: SecretSource
    domain: str

    def pool_id(self, pool: str) -> str:
        """The SPIFFE id of the ingresses of a pool."""
        return f"spiffe://{self.domain}/pool/{pool}"


@lru_cache(maxsize=1)
def mesh_metadata() -> bytes:
    """Encode what an ``LbEndpoint`` says of a replica that has an ingress."""
    known = protobuf.Struct.from_dict({_KEY: _MTLS})
    metadata = core_v3.Metadata(filter_metadata={_MATCH: known})
    return bytes(endpoint_v3.LbEndpoint(metadata=metadata))


def secure(cluster: cluster_v3.Cluster, pool: str, mesh: MeshSettings, trust: Trust) -> None:
    """Make a cluster of an egress speak TLS with ingresses, and if the pool is strict with all.

    Args:
        cluster: Is changed.
        pool: Whose ingresses they are.
        mesh: Of the pool; its mode is not ``off``.
        trust: Of the egress.
    """
    tls = _upstream(trust, pool)
    if mesh.mode == "strict":
        cluster.transport_socket = tls
    else:
        is_meshed = protobuf.Struct.from_dict({_KEY: _MTLS})
        raw = _socket("raw_buffer", raw_buffer_v3.RawBuffer())
        cluster.transport_socket_matches = [
            cluster_v3.ClusterTransportSocketMatch("mtls", is_meshed, tls),
            cluster_v3.ClusterTransportSocketMatch("plain", protobuf.Struct(), raw),
        ]
    for check in cluster.health_checks:
        # A check on a connection that is open says nothing of certificates.
        check.reuse_connection = False


def _upstream(trust: Trust, pool: str) -> core_v3.TransportSocket:
    named = tls_v3.SubjectAltNameMatcher(
        san_type=tls_v3.SubjectAltNameMatcherSanType.URI,
        matcher=matcher_v3.StringMatcher(exact=trust.pool_id(pool)),
    )
    return _socket("tls", tls_v3.UpstreamTlsContext(common_tls_context=_common(trust, named)))


def downstream(trust: Trust) -> core_v3.TransportSocket:
    """What an ingress speaks with clients that have certificates."""
    named = tls_v3.SubjectAltNameMatcher(
        san_type=tls_v3.SubjectAltNameMatcherSanType.URI,
        matcher=matcher_v3.StringMatcher(prefix="spiffe://"),
    )
    context = tls_v3.DownstreamTlsContext(
        common_tls_context=_common(trust, named),
        require_client_certificate=True,
        # The certificate of a session that is resumed is not looked at again, and may have expired.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return _socket("tls", context)


def _common(trust: Trust, peer: tls_v3.SubjectAltNameMatcher) -> tls_v3.CommonTlsContext:
    version = tls_v3.TlsParametersTlsProtocol.TLSv1_3
    return tls_v3.CommonTlsContext(
        # A client's maximum is 1.2 unless it is said.
        tls_params=tls_v3.TlsParameters(
            tls_minimum_protocol_version=version, tls_maximum_protocol_version=version
        ),
        tls_certificate_sds_secret_configs=[trust.secrets.secret(IDENTITY)],
        combined_validation_context=tls_v3.CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=tls_v3.CertificateValidationContext(
                match_typed_subject_alt_names=[peer]
            ),
            validation_context_sds_secret_config=trust.secrets.secret(ROOTS),
        ),
    )


def _socket(name: str, config: betterproto2.Message) -> core_v3.TransportSocket:
    return core_v3.TransportSocket(
        name=f"envoy.transport_sockets.{name}", typed_config=protobuf.Any.pack(config)
    )


def nobody() -> http_rbac_v3.Rbac:
    """The filter of a listener, before a route says who may use it."""
    return http_rbac_v3.Rbac(rules=rbac_v3.Rbac(action=rbac_v3.RbacAction.ALLOW))


def allowed(mesh: MeshSettings, domain: str) -> http_rbac_v3.RbacPerRoute:
    """Who may use the routes of a pool; routes change without a new connection.

    Args:
        mesh: Of the pool. Unless it is strict, that is anybody.
        domain: The trust domain.
    """
    if mesh.mode != "strict":
        return http_rbac_v3.RbacPerRoute()
    patterns = ("*",) if mesh.clients is None else mesh.clients
    clients = rbac_v3.Policy(
        permissions=[rbac_v3.Permission(any=True)],
        principals=[_principal(it, domain) for it in patterns],
    )
    rules = rbac_v3.Rbac(
        action=rbac_v3.RbacAction.ALLOW, policies={"clients": clients} if patterns else {}
    )
    return http_rbac_v3.RbacPerRoute(rbac=http_rbac_v3.Rbac(rules=rules))


def _principal(pattern: str, domain: str) -> rbac_v3.Principal:
    name = pattern if "://" in pattern else f"spiffe://{domain}/node/{pattern}"
    beginning = name.removesuffix("*")
    text = matcher_v3.StringMatcher()
    if beginning == name:
        text.exact = name
    else:
        text.prefix = beginning
    return rbac_v3.Principal(authenticated=rbac_v3.PrincipalAuthenticated(principal_name=text))
