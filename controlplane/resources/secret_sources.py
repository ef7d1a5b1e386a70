"""Where an Envoy gets its certificate and its roots from: files, a SPIRE agent, the control plane.

Envoy follows files only of secrets (SDS), also where these come from a file. So there are two more
files, each with a secret that names files of certificates.

Secrets from the control plane are no part of a catalog: they belong to a stream whose client has
proven who it is, and are neither stored nor shared. Their versions are hashes of what is public.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePath, PurePosixPath
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3

from controlplane.config import SettingsError, shown
from controlplane.resources.resource import SECRET, Resource, Revision, Snapshot

IDENTITY: Final = "identity"
"""The secret with an Envoy's own certificate and key."""

ROOTS: Final = "roots"
"""The secret with the certificates that lead to those of others."""

_PREFIX: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


@dataclass(frozen=True, slots=True)
class NodeTls:
    """What an Envoy shows its control plane, and whom it takes for that; paths as Envoy sees them.

    Attributes:
        certificate: File with its certificate and those between it and a root, in PEM.
        secrets: Folder of the two files with secrets.
        name: Of the control plane in its certificate: a host name, an IP address or a SPIFFE id.
    """

    certificate: str
    key: str
    ca: str
    secrets: str
    name: str


@dataclass(frozen=True, slots=True)
class SpireTls:
    """The same where a SPIRE agent has the certificates.

    Attributes:
        name: As in `NodeTls`.
        identity: The SPIFFE id that the Envoy shows; None: the first that the agent has for it.
    """

    name: str
    identity: str | None = None


SPIRE_CLUSTER: Final = "spire_agent"
"""The agent, in an Envoy's bootstrap."""


def spire_secret(name: str, identity: str | None = None) -> dict[str, Any]:
    """An ``SdsSecretConfig`` with which an Envoy asks its SPIRE agent for a secret.

    An agent may have several identities for an Envoy, and knows each by its SPIFFE id.
    """
    # The agent's own names for what the Envoy is, and for the roots of its trust domain.
    known = {IDENTITY: identity or "default", ROOTS: "ROOTCA"}[name]
    # An agent speaks no delta.
    source = {"api_config_source": grpc_source(SPIRE_CLUSTER), "resource_api_version": "V3"}
    return {"name": known, "sds_config": source}


def grpc_source(cluster: str) -> dict[str, Any]:
    """An ``ApiConfigSource``: where an Envoy asks a server over gRPC, but not in delta."""
    services = [{"envoy_grpc": {"cluster_name": cluster}}]
    return {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services}


def secret_files(tls: NodeTls) -> dict[str, dict[str, Any]]:
    """The files with secrets, by their names in the folder."""
    identity = {
        "certificate_chain": {"filename": tls.certificate},
        "private_key": {"filename": tls.key},
        "watched_directory": _folder_of(tls.certificate),
    }
    roots = {"trusted_ca": {"filename": tls.ca}, "watched_directory": _folder_of(tls.ca)}
    return {
        f"{IDENTITY}.json": _file_of({"name": IDENTITY, "tls_certificate": identity}),
        f"{ROOTS}.json": _file_of({"name": ROOTS, "validation_context": roots}),
    }


def transport_socket(tls: NodeTls | SpireTls) -> dict[str, Any]:
    """The transport socket of the cluster that is the control plane."""
    kind, name = _kind_of(tls.name)
    context: dict[str, Any] = {
        "@type": f"{_PREFIX}.UpstreamTlsContext",
        "common_tls_context": {
            # The highest version of a client is 1.2 by default.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_secret(tls, IDENTITY)],
            "combined_validation_context": {
                # Roots alone would take any node for the control plane.
                "default_validation_context": {
                    "match_typed_subject_alt_names": [
                        {"san_type": kind, "matcher": {"exact": name}}
                    ]
                },
                "validation_context_sds_secret_config": _secret(tls, ROOTS),
            },
        },
        # A session that is resumed would show the certificate that it began with.
        "max_session_keys": 0,
    }
    if kind == "DNS":
        context["sni"] = name
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _secret(tls: NodeTls | SpireTls, name: str) -> dict[str, Any]:
    if isinstance(tls, SpireTls):
        return spire_secret(name, tls.identity)
    path = str(PurePath(tls.secrets) / f"{name}.json")
    source = {"path_config_source": {"path": path}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _file_of(secret: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_PREFIX}.Secret", **secret}]}


def _folder_of(path: str) -> dict[str, str]:
    return {"path": str(PurePath(path).parent)}


def _kind_of(name: str) -> tuple[str, str]:
    if name.startswith("spiffe://"):
        return "URI", name
    try:
        return "IP_ADDRESS", str(ip_address(name))
    except ValueError:
        return "DNS", name


MAX_PATH: Final = 4_096

SecretName: TypeAlias = Literal["identity", "roots"]


class SecretSource(NamedTuple):
    """Where an Envoy's secrets come from: by default the control plane.

    Else files on the Envoy's machine describe each as an SDS response, or a SPIRE agent sends both.
    """

    certificate: str = ""
    roots: str = ""
    spire: bool = False

    @classmethod
    def in_folder(cls, folder: str) -> "SecretSource":
        """The files that `secret_files` describes, in an absolute folder."""
        path = PurePosixPath(folder)
        return cls(str(path / f"{IDENTITY}.json"), str(path / f"{ROOTS}.json"))

    def to_metadata(self) -> dict[str, Any]:
        """Write what a bootstrap has of it, for `secret_source` to read."""
        if self.spire:
            return {"source": "spire"}
        if not self.certificate:
            return {"source": "ads"}
        return {"source": "files", "certificate": self.certificate, "roots": self.roots}

    def secret(self, name: SecretName, identity: str | None = None) -> tls_v3.SdsSecretConfig:
        """What tells the Envoy where a secret is; `identity` as in `spire_secret`."""
        if self.spire:
            return tls_v3.SdsSecretConfig.from_dict(spire_secret(name, identity))
        config = core_v3.ConfigSource(resource_api_version=core_v3.ApiVersion.V3)
        if not self.certificate:
            config.ads = core_v3.AggregatedConfigSource()
        else:
            path = self.certificate if name == IDENTITY else self.roots
            folder = str(PurePosixPath(path).parent)
            # Without the folder Envoy would not see a file that another takes the place of by way
            # of a symbolic link, as orchestrators replace what they mount.
            config.path_config_source = core_v3.PathConfigSource(
                path=path, watched_directory=core_v3.WatchedDirectory(path=folder)
            )
        return tls_v3.SdsSecretConfig(name=name, sds_config=config)


ADS: Final = SecretSource()
"""Secrets from the control plane."""

SPIRE: Final = SecretSource(spire=True)
"""Secrets from a SPIRE agent."""


def secret_source(data: object) -> SecretSource | None:
    """Read what `SecretSource.to_metadata` wrote; None where an Envoy has no secrets."""
    if data is None:
        return None
    kind = data.get("source") if isinstance(data, Mapping) else data
    if kind == "ads":
        return ADS
    if kind == "spire":
        return SPIRE
    if kind != "files" or not isinstance(data, Mapping):
        raise SettingsError(f"must be ads, files or spire, not {shown(kind)}", ("source",))
    return SecretSource(_path(data, "certificate"), _path(data, "roots"))


def _path(data: Mapping[str, Any], key: str) -> str:
    text = data.get(key)
    if (
        not isinstance(text, str)
        or not text.startswith("/")
        or not text.isprintable()
        or len(text) > MAX_PATH
    ):
        raise SettingsError("must be the absolute path of a file", (key,))
    return text


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
        return self._resources.keys() if type_url == SECRET else ()


class MergedSecrets(Snapshot):
    """Secrets of one stream, beside those of a catalog, which have other names."""

    def __init__(self, own: Snapshot, others: Snapshot) -> None:
        super().__init__(Revision(), keeps_any=others.keeps_any)
        self.own, self.others = own, others

    def get(self, type_url: str, name: str) -> Resource | None:
        return (self.own if name in _OWN else self.others).get(type_url, name)

    def names(self, type_url: str) -> Collection[str]:
        others = (name for name in self.others.names(type_url) if name not in _OWN)
        return [*self.own.names(type_url), *others]

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:
        """As in the catalog: what is the stream's own is known at once."""
        return name not in _OWN and self.others.keeps(type_url, name, version)


NO_SECRETS: Final = Secrets()
"""The secrets of a client that has not proven who it is: none."""


def identity_secret(chain: bytes, key: bytes) -> Resource:
    """Encode a certificate with its key, both in PEM."""
    certificate = tls_v3.TlsCertificate(certificate_chain=_inline(chain), private_key=_inline(key))
    return _encoded_secret(tls_v3.Secret(name=IDENTITY, tls_certificate=certificate), chain)


def roots_secret(roots: bytes) -> Resource:
    """Encode the trusted certificates, in PEM."""
    context = tls_v3.CertificateValidationContext(trusted_ca=_inline(roots))
    return _encoded_secret(tls_v3.Secret(name=ROOTS, validation_context=context), roots)


def _inline(content: bytes) -> core_v3.DataSource:
    return core_v3.DataSource(inline_bytes=content)


def _encoded_secret(message: tls_v3.Secret, public: bytes) -> Resource:
    return Resource.of(SECRET, message.name, bytes(message), versioned_by=public)
