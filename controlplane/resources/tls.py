"""TLS at both edges of an Envoy, mutual TLS between Envoys, and the secrets with their files.

A secret names files of the Envoy's machine and holds nothing of them. Files named in a listener or
a cluster itself are read once; those of a secret are read again whenever something in their folder
is renamed, as by ``mv`` or the links of a Kubernetes volume.

The Envoy of a client (egress) and the one beside a replica (ingress) show each other certificates
with SPIFFE ids: ``spiffe://TRUST-DOMAIN/node/ID`` and ``spiffe://TRUST-DOMAIN/pool/NAME``. An
egress rejects the ingress of another pool.
"""

import posixpath
from collections.abc import Iterable, Iterator
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

from controlplane.config import PoolSettings
from controlplane.config.tls import (
    SYSTEM,
    CertificateSettings,
    GatewayTls,
    MeshSettings,
    UpstreamTls,
)
from controlplane.resources.messages import over_ads, transport_socket
from controlplane.resources.resource import SECRET, Resource
from controlplane.resources.secret_sources import IDENTITY, ROOTS, SecretSource

CERTIFICATE: Final = "/certificate"
CLIENTS: Final = "/clients"
REPLICAS: Final = "/replicas"
"""At the ends of secrets' names, after that of a pool or of a gateway: no name has a slash."""

SYSTEM_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where Envoy's images, Debian and Alpine keep what they trust."""

_MIN, _MAX = tls_v3.TlsParametersTlsProtocol.TLSv1_2, tls_v3.TlsParametersTlsProtocol.TLSv1_3


class Terminated(NamedTuple):
    """How a listener terminates TLS, by the names of secrets.

    A client gets the certificate of the name that it asks for (SNI), or the first. `clients` has
    the authority of clients' certificates; None: they need none.
    """

    certificates: tuple[str, ...]
    clients: str | None = None


def terminated(owner: str, count: int, *, asks_clients: bool) -> Terminated:
    """The secrets of a listener of a pool or a gateway with so many certificates."""
    names = tuple(_numbered(owner, number) for number in range(count))
    return Terminated(names, owner + CLIENTS if asks_clients else None)


def _numbered(owner: str, number: int) -> str:
    return f"{owner}{CERTIFICATE}{f'-{number}' if number else ''}"


@lru_cache(maxsize=256)
def gateway_secrets(owner: str, tls: GatewayTls) -> tuple[Resource, ...]:
    """Make the secrets that a gateway takes its files from."""
    return tuple(_listener_secrets(owner, tls.certificates, tls.client_ca))


def _listener_secrets(
    owner: str, certificates: Iterable[CertificateSettings], client_ca: str | None
) -> Iterator[Resource]:
    for number, files in enumerate(certificates):
        certificate = tls_v3.TlsCertificate(
            certificate_chain=core_v3.DataSource(filename=files.certificate),
            private_key=core_v3.DataSource(filename=files.key),
            watched_directory=_folder(files.certificate),
        )
        name = _numbered(owner, number)
        yield _resource(tls_v3.Secret(name=name, tls_certificate=certificate))
    if client_ca is not None:
        yield _trust(owner + CLIENTS, client_ca)


def pool_secrets(name: str, settings: PoolSettings) -> tuple[Resource, ...]:
    """Make the secrets of a pool: of its listener, and of its clusters."""
    listener, upstream = settings.listener.tls, settings.upstream.tls
    found: list[Resource] = []
    if listener is not None:
        found.extend(_listener_secrets(name, [listener], listener.client_ca))
    if upstream is not None:
        found.append(_trust(name + REPLICAS, _bundle(upstream.ca)))
    return tuple(found)


def _bundle(ca: str) -> str:
    return SYSTEM_BUNDLE if ca == SYSTEM else ca


def _trust(name: str, ca: str) -> Resource:
    trusted = tls_v3.CertificateValidationContext(
        trusted_ca=core_v3.DataSource(filename=ca), watched_directory=_folder(ca)
    )
    return _resource(tls_v3.Secret(name=name, validation_context=trusted))


def _resource(secret: tls_v3.Secret) -> Resource:
    return Resource.of(SECRET, secret.name, bytes(secret))


def _folder(file: str) -> core_v3.WatchedDirectory:
    return core_v3.WatchedDirectory(path=posixpath.dirname(file) or "/")


@lru_cache(maxsize=1 << 14)
def downstream_socket(tls: Terminated) -> core_v3.TransportSocket:
    """Build the TLS settings of a listener."""
    common = _common(("h2", "http/1.1"))
    common.tls_certificate_sds_secret_configs = [
        _sent(certificate) for certificate in tls.certificates
    ]
    if tls.clients is not None:
        common.validation_context_sds_secret_config = _sent(tls.clients)
    return transport_socket(
        "tls",
        tls_v3.DownstreamTlsContext(
            common_tls_context=common,
            require_client_certificate=tls.clients is not None,
            # A client whose session is resumed is not asked for a certificate again: one that has
            # expired or is not trusted any more would still do.
            disable_stateless_session_resumption=tls.clients is not None,
            disable_stateful_session_resumption=tls.clients is not None,
        ),
    )


def upstream_socket(pool: str, protocol: str, tls: UpstreamTls) -> core_v3.TransportSocket:
    """Build the TLS settings of a pool's cluster, for requests in this protocol."""
    common = _common(("h2",) if protocol == "http2" else ("http/1.1",))
    common.validation_context_sds_secret_config = _sent(pool + REPLICAS)
    return transport_socket(
        "tls",
        tls_v3.UpstreamTlsContext(
            common_tls_context=common,
            sni=tls.server_name or "",
            # Each endpoint's hostname is the id of its replica.
            auto_host_sni=tls.server_name is None,
            # With an authority alone, any name that it signs would do.
            auto_sni_san_validation=True,
            # A session that one replica began another one may resume, whose certificate nobody
            # has seen then.
            max_session_keys=0,
        ),
    )


def collector_socket(tls: UpstreamTls, host: str) -> core_v3.TransportSocket:
    """Build the TLS settings of a collector's cluster; Envoy reads its files once."""
    common = _common(("h2",))
    common.validation_context = tls_v3.CertificateValidationContext(
        trusted_ca=core_v3.DataSource(filename=_bundle(tls.ca))
    )
    return transport_socket(
        "tls",
        tls_v3.UpstreamTlsContext(
            common_tls_context=common, sni=tls.name_of(host), auto_sni_san_validation=True
        ),
    )


def _sent(secret: str) -> tls_v3.SdsSecretConfig:
    """A secret that comes over the same stream as what refers to it."""
    return tls_v3.SdsSecretConfig(name=secret, sds_config=over_ads())


def _common(alpn: tuple[str, ...]) -> tls_v3.CommonTlsContext:
    return tls_v3.CommonTlsContext(
        # The maximum of a client is TLS 1.2 by default: a minimum alone may leave nothing between.
        tls_params=tls_v3.TlsParameters(
            tls_minimum_protocol_version=_MIN, tls_maximum_protocol_version=_MAX
        ),
        alpn_protocols=[*alpn],
    )


RENEWED: Final = timedelta(seconds=10)
"""Time for which an egress uses a connection. One that is open knows nothing of a certificate that
was replaced since, nor of a pool that has become strict."""

RBAC_FILTER: Final = "envoy.filters.http.rbac"

_MATCH: Final = "envoy.transport_socket_match"
_KEY: Final = "plimsoll.identity"
_MTLS: Final = "mtls"


class Trust(NamedTuple):
    """The secrets and the trust domain with which an Envoy speaks mutual TLS."""

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
    context = tls_v3.UpstreamTlsContext(common_tls_context=_mesh_context(trust, ingress))
    return transport_socket("tls", context)


def downstream(trust: Trust, pool: str) -> core_v3.TransportSocket:
    """Build the TLS settings of an ingress."""
    anybody = matcher_v3.StringMatcher(prefix="spiffe://")
    context = tls_v3.DownstreamTlsContext(
        common_tls_context=_mesh_context(trust, anybody, trust.pool_id(pool)),
        require_client_certificate=True,
        # The certificate of a session that is resumed is not looked at again, and may have expired.
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return transport_socket("tls", context)


def _mesh_context(
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
    """Build the rule of who may use a pool's routes: anybody unless its mesh is strict.

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
