"""Istio: where istiod connects, and what the pools are called in its mesh."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, model_validator

from controlplane.config.addresses import BindAddress, check_exposed
from controlplane.config.errors import shown
from controlplane.config.values import File, Port, Settings, matching

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE: Final = matching(
    _LABEL,
    "is not a namespace of Kubernetes: write lower-case letters, digits and dashes, as in"
    ' "plimsoll"',
)
_DNS_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)

MAX_HOST: Final = 253
"""Characters that a host name may have."""


def is_dns_name(text: str) -> bool:
    """Whether a text is a host name, or the beginning of one, as Istio takes it."""
    return len(text) <= MAX_HOST and _DNS_NAME.fullmatch(text) is not None


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
    namespace: Annotated[str, _NAMESPACE] = "plimsoll"
    domain: Annotated[str, AfterValidator(_domain)] = "plimsoll.internal"
    port: Port = 80

    @model_validator(mode="after")
    def _tls_off_loopback(self) -> Self:
        check_exposed(
            self.address, "istiod reaches", has_tls=self.tls is not None, insecure=self.insecure
        )
        return self
