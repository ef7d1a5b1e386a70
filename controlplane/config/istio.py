"""Istio: where istiod connects, and what the pools are called in its mesh."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from controlplane.config.addresses import BindAddress
from controlplane.config.errors import SettingsError, shown
from controlplane.config.values import File, Settings

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DNS_LABEL: Final = re.compile(_LABEL, re.ASCII)
_DNS_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)

MAX_HOST: Final = 253
"""Characters that a host name may have."""


def is_dns_name(text: str) -> bool:
    """Whether a text is a host name, or the beginning of one, as Istio takes it."""
    return len(text) <= MAX_HOST and _DNS_NAME.fullmatch(text) is not None


def _namespace(text: str) -> str:
    if not _DNS_LABEL.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not a namespace of Kubernetes: write lower-case letters, digits and"
            ' dashes, as in "plimsoll"'
        )
    return text


def _domain(text: str) -> str:
    # The longest name of a pool has 63 characters.
    if not is_dns_name(text) or len(text) > MAX_HOST - 64:
        raise ValueError(
            f'{shown(text)} is not a domain: write it in lower case, as in "plimsoll.internal"'
        )
    return text


class IstioTlsSettings(Settings):
    """TLS of the server that istiod connects to. istiod shows no certificate of its own.

    Attributes:
        certificate: File with the server's certificate and those between it and a root, in PEM.
        key: File with its private key.
    """

    certificate: File
    key: File


class IstioSettings(Settings):
    """What istiod is given: each pool as a host of its mesh.

    Attributes:
        address: Where istiod connects.
        tls: None: in plain text.
        insecure: Whether plain text is meant on an address that other machines can reach.
        namespace: Of the resources. Not that of istiod: what stands there applies to the hosts of
            others, too.
        domain: A pool's host is its name, a dot, and this.
        port: Of the host.
    """

    address: BindAddress
    tls: IstioTlsSettings | None = None
    insecure: bool = False
    namespace: Annotated[str, AfterValidator(_namespace)] = "plimsoll"
    domain: Annotated[str, AfterValidator(_domain)] = "plimsoll.internal"
    port: Annotated[int, Field(ge=1, le=65535)] = 80

    @model_validator(mode="after")
    def _tls_off_loopback(self) -> Self:
        if self.tls is not None and self.insecure:
            raise SettingsError("insecure and tls exclude each other", ("insecure",))
        if not (self.tls or self.insecure or self.address.is_loopback):
            raise SettingsError(
                f"{self.address} can be reached from other machines: set tls, listen on 127.0.0.1,"
                " or set insecure: true where only istiod reaches it",
                ("address",),
            )
        return self
