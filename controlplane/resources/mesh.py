"""Mutual TLS between Envoys: the transport sockets of both sides, and who may use a pool.

The Envoy of a client (egress) and the one beside a replica (ingress) show each other certificates
with SPIFFE ids: ``spiffe://TRUST-DOMAIN/node/ID`` and ``spiffe://TRUST-DOMAIN/pool/NAME``. To an
egress an ingress of another pool is a stranger.
"""

from datetime import timedelta
from functools import lru_cache
from typing import Final, NamedTuple

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
from controlplane.resources.messages import transport_socket
from controlplane.resources.secret_sources import IDENTITY, ROOTS, SecretSource

RENEWED: Final = timedelta(seconds=10)
"""For which an egress uses a connection. One that is open knows nothing of a certificate that was
replaced since, nor of a pool that has become strict."""

RBAC_FILTER: Final = "envoy.filters.http.rbac"

_MATCH: Final = "envoy.transport_socket_match"
_KEY: Final = "plimsoll.identity"
_MTLS: Final = "mtls"


class Trust(NamedTuple):
    """What an Envoy needs for mutual TLS: its secrets and the trust domain."""

    secrets: SecretSource
    domain: str

    def pool_id(self, pool: str) -> str:
        """The SPIFFE id of the ingresses of a pool."""
        return f"spiffe://{self.domain}/pool/{pool}"


@lru_cache(maxsize=1)
def mesh_metadata() -> bytes:
    """Encode the metadata of an ``LbEndpoint`` whose replica has an ingress."""
    known = protobuf.Struct.from_dict({_KEY: _MTLS})
    metadata = core_v3.Metadata(filter_metadata={_MATCH: known})
    return bytes(endpoint_v3.LbEndpoint(metadata=metadata))


def secure(cluster: cluster_v3.Cluster, pool: str, mesh: MeshSettings, trust: Trust) -> None:
    """Make an egress's cluster speak TLS with a pool's ingresses, and if it is strict with all."""
    tls = _upstream(trust, pool)
    if mesh.mode == "strict":
        cluster.transport_socket = tls
    else:
        is_meshed = protobuf.Struct.from_dict({_KEY: _MTLS})
        raw = transport_socket("raw_buffer", raw_buffer_v3.RawBuffer())
        cluster.transport_socket_matches = [
            cluster_v3.ClusterTransportSocketMatch("mtls", is_meshed, tls),
            cluster_v3.ClusterTransportSocketMatch("plain", protobuf.Struct(), raw),
        ]
    for check in cluster.health_checks:
        # A check on a connection that is open says nothing of certificates.
        check.reuse_connection = False


def _upstream(trust: Trust, pool: str) -> core_v3.TransportSocket:
    ingress = matcher_v3.StringMatcher(exact=trust.pool_id(pool))
    context = tls_v3.UpstreamTlsContext(common_tls_context=_common(trust, ingress))
    return transport_socket("tls", context)


def downstream(trust: Trust, pool: str) -> core_v3.TransportSocket:
    """What an ingress of a pool speaks with clients that have certificates."""
    anybody = matcher_v3.StringMatcher(prefix="spiffe://")
    context = tls_v3.DownstreamTlsContext(
        common_tls_context=_common(trust, anybody, trust.pool_id(pool)),
        require_client_certificate=True,
        # The certificate of a session that is resumed is not looked at again, and may have expired.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return transport_socket("tls", context)


def _common(
    trust: Trust, peer: matcher_v3.StringMatcher, own: str | None = None
) -> tls_v3.CommonTlsContext:
    version = tls_v3.TlsParametersTlsProtocol.TLSv1_3
    return tls_v3.CommonTlsContext(
        # A client's maximum is 1.2 by default.
        tls_params=tls_v3.TlsParameters(
            tls_minimum_protocol_version=version, tls_maximum_protocol_version=version
        ),
        tls_certificate_sds_secret_configs=[trust.secrets.secret(IDENTITY, own)],
        combined_validation_context=tls_v3.CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=tls_v3.CertificateValidationContext(
                match_typed_subject_alt_names=[
                    tls_v3.SubjectAltNameMatcher(tls_v3.SubjectAltNameMatcherSanType.URI, peer)
                ]
            ),
            validation_context_sds_secret_config=trust.secrets.secret(ROOTS),
        ),
    )


def nobody() -> http_rbac_v3.Rbac:
    """The filter of a listener, before a route says who may use it."""
    return http_rbac_v3.Rbac(rules=rbac_v3.Rbac(action=rbac_v3.RbacAction.ALLOW))


def allowed(mesh: MeshSettings, domain: str) -> http_rbac_v3.RbacPerRoute:
    """Who may use the routes of a pool: anybody unless its mesh is strict.

    Routes change without a new connection.
    """
    if mesh.mode != "strict":
        return http_rbac_v3.RbacPerRoute()
    patterns = ("*",) if mesh.clients is None else mesh.clients
    clients = rbac_v3.Policy(
        permissions=[rbac_v3.Permission(any=True)],
        principals=[_principal(pattern, domain) for pattern in patterns],
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
