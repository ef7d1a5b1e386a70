"""The secrets of one Envoy: the certificate that it shows others, and the roots that it trusts.

They are no part of a catalog: they belong to a stream whose client has proven who it is, and are
neither stored nor shared. Their versions are hashes of what is public in them. Two revisions of
them are compared whole, as there are few.
"""

from collections.abc import Collection
from typing import Final

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3

from controlplane.resources.resource import SECRET, Resource, Revision, Snapshot
from controlplane.resources.secret_sources import IDENTITY, ROOTS

_OWN: Final = (IDENTITY, ROOTS)


class Secrets(Snapshot):
    """Secrets and nothing else; names that are not among them do not exist."""

    def __init__(self, *resources: Resource) -> None:
        super().__init__(Revision())
        self._resources = {resource.name: resource for resource in resources}

    def get(self, type_url: str, name: str) -> Resource | None:
        """A secret, by its name alone."""
        return self._resources.get(name) if type_url == SECRET else None

    def names(self, type_url: str) -> Collection[str]:
        """The names of the secrets."""
        return self._resources.keys() if type_url == SECRET else ()


class MergedSecrets(Snapshot):
    """Secrets of one stream, beside those of a catalog, which have other names."""

    def __init__(self, own: Snapshot, others: Snapshot) -> None:
        super().__init__(Revision(), keeps_any=others.keeps_any)
        self.own, self.others = own, others

    def get(self, type_url: str, name: str) -> Resource | None:
        """A secret of either."""
        return (self.own if name in _OWN else self.others).get(type_url, name)

    def names(self, type_url: str) -> Collection[str]:
        """The names of both."""
        others = (name for name in self.others.names(type_url) if name not in _OWN)
        return [*self.own.names(type_url), *others]

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:
        """As in the catalog: what is the stream's own is known at once."""
        return name not in _OWN and self.others.keeps(type_url, name, version)


NO_SECRETS: Final = Secrets()
"""Those of a client that has not proven who it is."""


def identity_secret(chain: bytes, key: bytes) -> Resource:
    """Encode a certificate with its key, both in PEM."""
    certificate = tls_v3.TlsCertificate(certificate_chain=_inline(chain), private_key=_inline(key))
    return _secret(tls_v3.Secret(name=IDENTITY, tls_certificate=certificate), chain)


def roots_secret(roots: bytes) -> Resource:
    """Encode the trusted certificates, in PEM."""
    context = tls_v3.CertificateValidationContext(trusted_ca=_inline(roots))
    return _secret(tls_v3.Secret(name=ROOTS, validation_context=context), roots)


def _inline(content: bytes) -> core_v3.DataSource:
    return core_v3.DataSource(inline_bytes=content)


def _secret(message: tls_v3.Secret, public: bytes) -> Resource:
    return Resource.of(SECRET, message.name, bytes(message), versioned_by=public)
