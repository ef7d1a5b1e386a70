"""Who may use the API and for what: the lines of a token file, each with the hash of a token.

Tokens are random and long, so that one round of SHA-256 is enough: there is nothing to guess.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from controlplane.config.errors import SettingsError

_MIN_CHARACTERS: Final = 16
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


class Role(StrEnum):
    """What a token is good for; each may do what those before it may."""

    READ = "read"
    REGISTER = "register"
    OPERATE = "operate"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do what the other may."""
        order = tuple(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without the token.

    Attributes:
        role: What it is good for.
        digest: SHA-256 of it.
        name: Whose it is, for the audit log.
    """

    role: Role
    digest: bytes
    name: str

    @classmethod
    def of(cls, text: str, role: Role = Role.OPERATE, name: str = "token") -> "Token":
        """The token with this text."""
        return cls(role, _digest(text), name)

    @property
    def line(self) -> str:
        """As it stands in a token file."""
        return f"{self.role} {self.digest.hex()} {self.name}"


def holder(tokens: Sequence[Token], given: str) -> Token | None:
    """The token that was given; None when it is none of them.

    How long it takes tells nothing about the tokens: all are compared, each in constant time.
    """
    digest, found = _digest(given), None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def parse_tokens(text: str, place: str) -> tuple[Token, ...]:
    """Read a token file.

    It holds one token as it is, which may do everything, or lines ``role sha256 [name]``; empty
    lines and lines that begin with ``#`` are skipped.

    Args:
        text: The whole of the file.
        place: The file's name, for messages. No message repeats what the file holds.

    Raises:
        SettingsError: For the first line that is wrong.
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
        token = _token(words, f"{place}:{number}")
        if any(token.digest == other.digest for other in tokens):
            raise SettingsError("is a token that stands above already", place=f"{place}:{number}")
        tokens.append(token)
    return tuple(tokens)


def _token(words: list[str], place: str) -> Token:
    if not 2 <= len(words) <= 3 or words[0] not in tuple(Role):
        raise SettingsError(
            f'must be "role sha256 [name]" with the role {", ".join(Role)}; `plimsoll token`'
            " prints such a line",
            place=place,
        )
    if not _HASH.fullmatch(words[1]):
        raise SettingsError(
            "the second word must be the SHA-256 of a token, 64 digits 0-9 and a-f", place=place
        )
    name = words[2] if len(words) == 3 else words[1][:8]
    if not _NAME.fullmatch(name):
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
