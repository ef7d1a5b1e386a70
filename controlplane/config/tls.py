"""TLS of Envoys: towards clients, towards replicas, and among themselves (the mesh).

Every file here is on the machine of the Envoy that reads it. No key travels through the control
plane. An Envoy reads a file again when it is replaced.
"""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema, model_validator

from controlplane.config.errors import SettingsError, shown
from controlplane.config.values import Settings, matching

SYSTEM: Final = "system"
"""Instead of a file: the certificates that a machine trusts by default."""

_NO_FILES: Final = ("/dev/", "/proc/", "/sys/")
"""Envoy reads nothing below these."""


def parse_envoy_file(text: str) -> str:
    """Read the path of a file on the machine of an Envoy."""
    if not text.startswith("/"):
        raise ValueError(
            f"{shown(text)} must be an absolute path: the file is on the Envoy's machine, as in"
            ' "/etc/envoy/tls.crt"'
        )
    if "\0" in text or text.endswith("/") or text.startswith(_NO_FILES) or len(text) > 4096:
        raise ValueError(f"{shown(text)} is not the path of a file")
    return text


def _trusted(text: str) -> str:
    return text if text == SYSTEM else parse_envoy_file(text)


_ABSOLUTE: Final = {"type": "string", "pattern": r"^/[^\x00]{0,4094}[^\x00/]$"}

EnvoyFile = Annotated[str, AfterValidator(parse_envoy_file), WithJsonSchema(_ABSOLUTE)]
"""An absolute path on the machine of an Envoy."""

TrustedFile = Annotated[
    str,
    AfterValidator(_trusted),
    WithJsonSchema({"anyOf": [{"const": SYSTEM}, _ABSOLUTE]}),
]
"""The same, or ``system``."""

DnsName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
"""A name in a certificate."""


class CertificateSettings(Settings):
    """A certificate with its intermediates, and its key: two files of PEM."""

    certificate: EnvoyFile
    key: EnvoyFile


class ListenerTls(CertificateSettings):
    """How a listener terminates TLS; HTTP/2 and HTTP/1.1 are chosen by ALPN.

    Attributes:
        client_ca: Signs the certificates that clients must present; None: none are asked for.
    """

    client_ca: EnvoyFile | None = None


class GatewayTls(Settings):
    """How a gateway terminates TLS.

    Attributes:
        certificates: A client gets the one with the name that it asks for (SNI), or else the
            first.
        client_ca: Signs the certificates that clients must present; None: none are asked for.
    """

    certificates: Annotated[
        tuple[CertificateSettings, ...], Field(strict=False, min_length=1, max_length=64)
    ]
    client_ca: EnvoyFile | None = None


class UpstreamTls(Settings):
    """How replicas are reached over TLS; verification cannot be switched off.

    Attributes:
        ca: Signs the certificates of the replicas; ``system``: what the machine trusts.
        server_name: The name in every replica's certificate; None: the replica's id.
    """

    ca: TrustedFile
    server_name: DnsName | None = None

    def name_of(self, replica: str) -> str:
        """The name in the certificate of the replica with this id."""
        return self.server_name or replica


class UpstreamSettings(Settings):
    """How requests reach the replicas.

    Attributes:
        protocol: ``http2`` for servers of gRPC, and others that speak nothing else.
        tls: None: plain text.
    """

    protocol: Literal["http1", "http2"] = "http1"
    tls: UpstreamTls | None = None


MeshMode: TypeAlias = Literal["off", "permissive", "strict"]

MAX_CLIENTS: Final = 256

MeshClient = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2048),
    matching(
        r"[A-Za-z0-9._-]*\*?|"
        r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*(/[A-Za-z0-9._-]*\*|/[A-Za-z0-9._-]+)",
        'is neither the id of a node, as in "search-1", nor a SPIFFE id, as in'
        ' "spiffe://example.org/node/search-1"; a * may stand at the end',
    ),
]
"""The id of a node or a SPIFFE id; a ``*`` at the end stands for any further characters."""


class MeshSettings(Settings):
    """Mutual TLS between the Envoys of clients and those of replicas.

    Attributes:
        mode: ``off``: plain text. ``permissive``: Envoys with a certificate use TLS to replicas
            with an ingress. ``strict``: TLS or nothing.
        clients: Nodes that may use the pool; None: every node of the trust domain.
    """

    mode: MeshMode = "off"
    clients: tuple[MeshClient, ...] | None = Field(
        default=None, strict=False, max_length=MAX_CLIENTS
    )

    @model_validator(mode="after")
    def _clients_are_known(self) -> Self:
        if self.clients is not None and self.mode != "strict":
            raise SettingsError(
                f"clients goes with mode: strict: in mode {self.mode} a request may come without a"
                " certificate, and its sender is unknown",
                ("clients",),
            )
        return self
