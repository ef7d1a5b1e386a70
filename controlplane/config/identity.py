"""Who may use the two servers, and for what: tokens, certificates, and the trust domain.

Tokens are random and long, so one round of SHA-256 is enough: there is nothing to guess.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from controlplane.config.errors import SettingsError
from controlplane.config.values import Duration, File, Name, Settings, format_duration, matching

_MIN_CHARACTERS: Final = 16
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


class Role(StrEnum):
    """What a token allows; each role includes those before it."""

    READ = "read"
    REGISTER = "register"
    OPERATE = "operate"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what another may."""
        order = tuple(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Token:
    """A token's role, its SHA-256 in place of the token, and its owner's name for the audit log."""

    role: Role
    digest: bytes
    name: str

    @classmethod
    def of(cls, text: str, role: Role = Role.OPERATE, name: str = "token") -> "Token":
        """Hash the text of a token."""
        return cls(role, _digest(text), name)

    @property
    def line(self) -> str:
        """The token's line in a token file."""
        return f"{self.role} {self.digest.hex()} {self.name}"


def holder(tokens: Sequence[Token], given: str) -> Token | None:
    """Find the token with the given text; None when there is none.

    The time reveals nothing about the tokens: all are compared, each in constant time.
    """
    digest, found = _digest(given), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def parse_tokens(text: str, place: str) -> tuple[Token, ...]:
    """Read a token file: one token, which may do everything, or lines ``role sha256 [name]``.

    Empty lines and lines that begin with ``#`` are skipped.

    Raises:
        SettingsError: The first wrong line of the file `place`, without repeating what it holds.
    """
    lines = [
        (number, line.split())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(lines) == 1 and len(words := lines[0][1]) == 1:
        plain = words[0]
        if len(plain) < _MIN_CHARACTERS or not plain.isascii():
            raise _no_token(place)
        return (Token.of(plain),)
    if not lines:
        raise _no_token(place)
    tokens: list[Token] = []
    for number, words in lines:
        token = _read_token(words, f"{place}:{number}")
        if any(token.digest == other.digest for other in tokens):
            raise SettingsError("is a token that is above already", place=f"{place}:{number}")
        tokens.append(token)
    return tuple(tokens)


def _read_token(words: list[str], place: str) -> Token:
    if not 2 <= len(words) <= 3 or words[0] not in tuple(Role):
        raise SettingsError(
            f'must be "role sha256 [name]" with the role {", ".join(Role)}; `plimsoll token`'
            ' prints such a line after "line:"',
            place=place,
        )
    if not _HASH.fullmatch(words[1]):
        raise SettingsError(
            "the second word must be the SHA-256 of a token, 64 digits 0-9 and a-f", place=place
        )
    name = words[2] if len(words) == 3 else words[1][:8]
    if not _TOKEN_NAME.fullmatch(name):
        raise SettingsError(
            "the name must be 1 to 63 letters, digits, dots, dashes and underscores", place=place
        )
    return Token(Role(words[0]), bytes.fromhex(words[1]), name)


def _no_token(place: str) -> SettingsError:
    return SettingsError(
        f"must hold one token of at least {_MIN_CHARACTERS} ASCII characters, or lines that"
        " `plimsoll token` prints",
        place=place,
    )


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


TrustDomain = Annotated[
    str,
    matching(
        r"[a-z0-9._-]{1,255}",
        "is not a trust domain: write lower-case letters, digits, dots, dashes and underscores, as"
        ' in "plimsoll.local"',
    ),
]
NodePattern = Annotated[
    str,
    matching(
        r"(?=.)[A-Za-z0-9._-]{0,255}\*?",
        "is not a node id of letters, digits, dots, dashes and underscores, with a * at its end for"
        " all ids that begin so",
    ),
]
ClientPattern = Annotated[
    str,
    matching(
        r"spiffe://[a-z0-9._-]{1,255}/[A-Za-z0-9._/-]{0,1024}\*?|CN=[^*]{1,64}",
        "is neither a SPIFFE id, with a * at its end for all that begin so, nor a common name, as"
        ' in "CN=alice"',
    ),
]
PoolName = Annotated[
    str,
    matching(
        r"\*|[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
        "is not the name of a pool; * stands for all pools",
    ),
]


def _leaf_ttl(seconds: float) -> float:
    if seconds < 1:
        raise ValueError(f"{format_duration(seconds)} is out of range: 1s to 24h")
    return seconds


class CaSettings(Settings):
    """The built-in certificate authority, which issues and renews a leaf for each node.

    Attributes:
        path: Its folder, as `plimsoll ca init` makes it, relative to the config file.
        leaf_ttl: Seconds that a leaf is valid; it is replaced at half of that time.
        ingresses: The nodes beside replicas, with their pools. Their leaves also name the pool,
            by which clients recognise its replicas.
    """

    path: File
    leaf_ttl: Annotated[Duration, AfterValidator(_leaf_ttl)] = 86_400.0
    ingresses: Mapping[NodePattern, Annotated[tuple[Name, ...], Field(strict=False)]] = {}


class IdentitySettings(Settings):
    """The identity of nodes.

    Attributes:
        trust_domain: Trust domain of the SPIFFE ids in certificates.
        ca: Issues the leaves of nodes; None: leaves come from elsewhere.
    """

    trust_domain: TrustDomain = "plimsoll.local"
    ca: CaSettings | None = None


class XdsTlsSettings(Settings):
    """TLS between Envoys and the control plane; both sides show a certificate.

    Attributes:
        certificate: File with the server's certificate and intermediates, in PEM.
        key: File with its private key.
        client_ca: File with the roots of the certificates of nodes.
        nodes: The pools that nodes may hold, by node id; None: any node may hold any pool.
        max_connection_age: Seconds after which, give or take a tenth, a node must reconnect and
            show its current certificate.
    """

    certificate: File
    key: File
    client_ca: File
    nodes: Mapping[NodePattern, Annotated[tuple[PoolName, ...], Field(strict=False)]] | None = None
    max_connection_age: Duration = 900.0


class AdminTlsSettings(Settings):
    """TLS of the REST API.

    Attributes:
        certificate: File with the server's certificate and intermediates, in PEM.
        key: File with its private key.
        client_ca: File with the roots of the certificates of clients; None: clients have none.
        clients: Roles of clients by the SPIFFE id or the common name in their certificates.
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
