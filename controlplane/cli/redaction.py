"""Remove secrets from documents that leave the operator's hands.

A secret is found by its place (a key such as ``password``, the value of a header) and by its form
(a private key, a URL with credentials). Once found, a secret is removed everywhere.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

REMOVED: Final = "[removed]"

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_SECRET_WORDS: Final = frozenset(
    (
        *("token", "secret", "password", "passwd", "passphrase", "pwd", "credential"),
        *("credentials", "authorization", "auth", "bearer", "cookie", "apikey", "jwt"),
    )
)
_KINDS_OF_KEY: Final = frozenset(
    ("api", "access", "private", "secret", "signing", "encryption", "session", "shared", "hmac")
)
"""Before ``key``, which alone is the name of a header, or the path of a file."""

_NOT_SECRET: Final = frozenset(
    (word,) for word in ("file", "filename", "path", "name", "id", "url", "bucket", "type", "count")
)
"""At the end of a key: the key names where a secret is, or its owner."""

_WHOLE: Final = frozenset({"config_yaml"})
"""Keys whose value is a document in a text, which cannot be searched."""

_HARMLESS_HEADER: Final = re.compile(
    r":|(content-(type|length)|accept|host|user-agent|x-request-id|(x-plimsoll|x-envoy|grpc)-.*)$",
    re.I,
)

_LEAST: Final = 4
"""Characters of a secret that is searched elsewhere; a shorter one would be found in any word."""

_RANDOM: Final = re.compile(r"(?=.*[0-9]).{8,}|.{16,}", re.DOTALL)
"""A value that is hardly a word; it is secret where values may be."""

_NAMED: Final = r"(?:pass(?:word|wd|phrase)|pwd|secret|token|api[-_]?key|access[-_]?key|credential)"

_PATTERNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
    for pattern, replacement in (
        (
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
            r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
            REMOVED,
        ),
        # The same in base64, as a field of bytes has it.
        (r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]{16,}", REMOVED),
        (r"\b([a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>]{0,512}@", rf"\1{REMOVED}@"),
        (
            r"([?&;][\w.-]{0,32}(?:token|secret|passw(?:or)?d|pwd|key|sig|signature|auth|credential)"
            r"[\w.-]{0,32}=)[^&\s\"'#;]+",
            rf"\1{REMOVED}",
        ),
        (r"\b(Bearer|Basic)(\s{1,4})[A-Za-z0-9._~+/=-]{6,}", rf"\1\2{REMOVED}"),
        (r"\beyJ[\w-]{8,512}\.[\w-]+(?:\.[\w-]*)?", REMOVED),
        (
            r"\b(?:sk|hf|ghp|gho|ghs|ghu|github_pat|glpat|xox[abprs]|nvapi)[-_][\w-]{12,}",
            REMOVED,
        ),
        (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b", REMOVED),
        (
            rf"\b(\w{{0,32}}{_NAMED})(\s{{0,4}}[=:]\s{{0,4}}[\"']?)(?!\[removed\])"
            r"[^\s,;&\"'}\]]+",
            rf"\1\2{REMOVED}",
        ),
    )
)
"""Every repetition before a required part is bounded: the texts may come from an attacker."""


class Redaction:
    """The known secrets; `learn` from every document first."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        """Start with some secrets; None and short texts are ignored."""
        self._secrets: set[str] = set()
        for secret in secrets:
            self._add(secret or "")

    def learn(self, document: Any) -> None:
        """Remember the secrets of a document: the same texts are removed from all others."""
        for value, is_certain in _secrets_in(document):
            if is_certain or _RANDOM.fullmatch(value):
                self._add(value)

    def _add(self, value: str) -> None:
        # As in "Bearer abc": the second word may be elsewhere without the first.
        for part in (value, *value.split()[1:]):
            if len(part) >= _LEAST and part != REMOVED:
                self._secrets.add(part)

    def text(self, text: str) -> str:
        """A text without secrets."""
        if self._secrets:
            longest = sorted(self._secrets, key=len, reverse=True)
            known = "|".join(map(re.escape, longest))
            text = re.sub(rf"(?<![A-Za-z0-9_])(?:{known})(?![A-Za-z0-9_])", REMOVED, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def document(self, document: Any) -> Any:
        """Plain data without secrets."""
        return self._cleaned(_masked(document))

    def _cleaned(self, document: Any) -> Any:
        match document:
            case Mapping():
                return {self.text(str(key)): self._cleaned(part) for key, part in document.items()}
            case list() | tuple():
                return [self._cleaned(part) for part in document]
            case str():
                return self.text(document)
            case _:
                return document


def _secrets_in(document: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """The texts at places of secrets, and whether a place is one for sure."""
    match document:
        case Mapping():
            named = _named(place, document)
            for key, part in document.items():
                yield from _secrets_in(part, (*named, str(key)))
        case list() | tuple():
            for part in document:
                yield from _secrets_in(part, place)
        case str() if (is_certain := _kind(place)) is not None:
            yield document, is_certain


def _masked(document: Any, place: tuple[str, ...] = ()) -> Any:
    """The document without the values at places of secrets."""
    match document:
        case Mapping():
            named = _named(place, document)
            return {key: _masked(part, (*named, str(key))) for key, part in document.items()}
        case list() | tuple():
            return [_masked(part, place) for part in document]
        case str():
            return REMOVED if document and _kind(place) is not None else document
        case int() | float() if not isinstance(document, bool):
            # As in ``password: 1234``; a number below a longer key is a count.
            return REMOVED if place and place[-1].lower() in _SECRET_WORDS else document
        case _:
            return document


def _named(place: tuple[str, ...], document: Mapping[Any, Any]) -> tuple[str, ...]:
    """The place of a mapping, with the header that it names, if any.

    The config has headers as ``{name, value}``, Envoy as ``{key, value}``, and matchers as a
    ``name`` and a rule.
    """
    name = document.get("name", document.get("key"))
    is_pair = "value" in document or (bool(place) and "header" in place[-1].lower())
    return (*place, f"={name}") if isinstance(name, str) and is_pair else place


def _kind(place: tuple[str, ...]) -> bool | None:
    """Whether the value at a place is secret for sure (True), maybe (False), or not (None)."""
    found: bool | None = None
    above = ""
    for key in place:
        name = key.removeprefix("=")
        of_header = "header" in above.lower() if key != name else above == "headers"
        if found is not None:
            if name in ("name", "key") or _words(name)[-1:] in _NOT_SECRET:
                found = None
        elif of_header:
            found = None if _HARMLESS_HEADER.match(name) else _is_secret(name)
        elif name in _WHOLE or _is_secret(name):
            found = name not in _WHOLE
        above = key
    return found


def _is_secret(key: str) -> bool:
    words = _words(key)
    if words[-1:] in _NOT_SECRET:
        return False
    is_key = any(last == "key" and kind in _KINDS_OF_KEY for kind, last in pairwise(words))
    return is_key or not _SECRET_WORDS.isdisjoint(words)


def _words(key: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(key))
