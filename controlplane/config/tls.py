"""TLS at both edges of an Envoy: towards clients, and towards replicas.

Every file here is on the machine of the Envoy that reads it. No key travels through the control
plane; an Envoy reads a file again when it is replaced.
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from controlplane.config.errors import shown
from controlplane.config.values import Settings

SYSTEM: Final = "system"
"""Instead of a file: the certificates that a machine trusts anyway."""

_NO_FILES: Final = ("/dev/", "/proc/", "/sys/")
"""Envoy reads nothing below these."""


def parse_envoy_file(text: str) -> str:
    """Read the path of a file on the machine of an Envoy.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
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
"""A name that a certificate can be of."""


class CertificateSettings(Settings):
    """A certificate and its key, two files of PEM.

    Attributes:
        certificate: Followed by those between it and a root.
        key: That goes with it.
    """

    certificate: EnvoyFile
    key: EnvoyFile


class ListenerTls(CertificateSettings):
    """How a listener terminates TLS; HTTP/2 and HTTP/1.1 are chosen by ALPN.

    Attributes:
        client_ca: Signs the certificates that clients must present; None: they present none.
    """

    client_ca: EnvoyFile | None = None


class GatewayTls(Settings):
    """How a gateway terminates TLS.

    Attributes:
        certificates: A client gets the one of the name that it asks for (SNI), and the first where
            none is of that name.
        client_ca: Signs the certificates that clients must present; None: they present none.
    """

    certificates: Annotated[
        tuple[CertificateSettings, ...], Field(strict=False, min_length=1, max_length=64)
    ]
    client_ca: EnvoyFile | None = None


class UpstreamTls(Settings):
    """How replicas are reached over TLS; there is no way to leave verification out.

    Attributes:
        ca: Signs the certificates of the replicas; ``system``: what the machine trusts.
        server_name: That every replica's certificate is of; None: each one's id.
    """

    ca: TrustedFile
    server_name: DnsName | None = None

    def name_of(self, replica: str) -> str:
        """The name that a replica's certificate must be of; `replica`: its id."""
        return self.server_name or replica


class UpstreamSettings(Settings):
    """How requests reach the replicas.

    Attributes:
        protocol: ``http2`` for servers of gRPC, and others that speak nothing else.
        tls: None: in plain text.
    """

    protocol: Literal["http1", "http2"] = "http1"
    tls: UpstreamTls | None = None
