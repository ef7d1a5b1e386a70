"""TLS at both edges of an Envoy, and the secrets that it takes its files from.

A secret names files of the Envoy's machine and holds nothing of them. Files named in a listener or
a cluster itself are read once; those of a secret are read again whenever something in their folder
is renamed, as by ``mv`` or the links of a Kubernetes volume.
"""

import posixpath
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3

from controlplane.config import PoolSettings
from controlplane.config.tls import SYSTEM, CertificateSettings, GatewayTls, UpstreamTls
from controlplane.resources.messages import over_ads, transport_socket
from controlplane.resources.resource import SECRET, Resource

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
    """What a listener speaks TLS by."""
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
    """What a pool's cluster speaks TLS by, for requests in this protocol."""
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
    """What the cluster of a collector at some host speaks TLS by; its files are read once."""
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
