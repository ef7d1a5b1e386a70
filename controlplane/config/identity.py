"""Identity: the trust domain, and the certificates and clients of the two servers."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from controlplane.config.access import File
from controlplane.config.errors import SettingsError, shown
from controlplane.config.tokens import Role
from controlplane.config.values import Duration, Name, Settings, format_duration

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_NODE: Final = re.compile(r"[A-Za-z0-9._-]{0,255}\*?", re.ASCII)
_CLIENT: Final = re.compile(
    r"(spiffe://[a-z0-9._-]{1,255}/[A-Za-z0-9._/-]{0,1024}\*?|CN=[^*]{1,64})"
)


def _trust_domain(text: str) -> str:
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not a trust domain: write lower-case letters, digits, dots, dashes"
            ' and underscores, as in "plimsoll.local"'
        )
    return text


def _node_pattern(text: str) -> str:
    if not text or not _NODE.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not a node id of letters, digits, dots, dashes and underscores,"
            " with a * at its end for all ids that begin so"
        )
    return text


def _client_pattern(text: str) -> str:
    if not _CLIENT.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is neither a SPIFFE id, with a * at its end for all that begin so, nor"
            ' a common name, as in "CN=alice"'
        )
    return text


def _pool(text: str) -> str:
    if text != "*" and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text, re.ASCII):
        raise ValueError(f"{shown(text)} is not the name of a pool; * stands for all pools")
    return text


NodePattern = Annotated[str, AfterValidator(_node_pattern)]
ClientPattern = Annotated[str, AfterValidator(_client_pattern)]
PoolName = Annotated[str, AfterValidator(_pool)]


def _leaf_ttl(seconds: float) -> float:
    if seconds < 1:
        raise ValueError(f"{format_duration(seconds)} is out of range: 1s to 24h")
    return seconds


class CaSettings(Settings):
    """The built-in certificate authority, which gives each node a leaf and renews it.

    Attributes:
        path: Its folder, as `plimsoll ca init` makes it, relative to the config file.
        leaf_ttl: Seconds that a leaf is valid; it is replaced at half of them.
        ingresses: The nodes that stand beside replicas, and of which pools: their leaves also name
            the pool, which is how clients know its replicas.
    """

    path: File
    leaf_ttl: Annotated[Duration, AfterValidator(_leaf_ttl)] = 86_400.0
    ingresses: Mapping[NodePattern, Annotated[tuple[Name, ...], Field(strict=False)]] = {}


class IdentitySettings(Settings):
    """Who nodes are.

    Attributes:
        trust_domain: Of the SPIFFE ids in certificates.
        ca: Issues the leaves of nodes; None: they have them from elsewhere.
    """

    trust_domain: Annotated[str, AfterValidator(_trust_domain)] = "plimsoll.local"
    ca: CaSettings | None = None


class XdsTlsSettings(Settings):
    """TLS between Envoys and the control plane; both sides show a certificate.

    Attributes:
        certificate: File with the server's certificate and those between it and a root, in PEM.
        key: File with its private key.
        client_ca: File with the roots that lead to the certificates of nodes.
        nodes: The pools that nodes may hold, by their ids; None: any node may hold any pool.
        max_connection_age: Seconds after which a node must connect anew, by a tenth more or less,
            so that it shows the certificate that it has by then.
    """

    certificate: File
    key: File
    client_ca: File
    nodes: Mapping[NodePattern, Annotated[tuple[PoolName, ...], Field(strict=False)]] | None = None
    max_connection_age: Duration = 900.0


class AdminTlsSettings(Settings):
    """TLS of the REST API.

    Attributes:
        certificate: File with the server's certificate and those between it and a root, in PEM.
        key: File with its private key.
        client_ca: File with the roots that lead to the certificates of clients; None: they have
            none.
        clients: Roles of clients by what their certificates say: a SPIFFE id or a common name.
    """

    certificate: File
    key: File
    client_ca: File | None = None
    clients: Mapping[ClientPattern, Annotated[Role, Field(strict=False)]] = {}

    @model_validator(mode="after")
    def _clients_have_roots(self) -> Self:
        if (self.client_ca is None) != (not self.clients):
            raise SettingsError("client_ca and clients go together", ("client_ca",))
        return self
