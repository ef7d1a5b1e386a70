"""Where requests go: what is written on a command line in, URLs with weights out. Pure."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

HEAVIEST: Final = 1000

_EXAMPLE: Final = '"http://127.0.0.1:10000/v1/embeddings"'


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that requests are sent to.

    Attributes:
        weight: How many turns it has while a target of weight 1 has one.
    """

    url: str
    weight: int = 1

    @property
    def path(self) -> str:
        """Of the URL."""
        return urlsplit(self.url).path


def parse_target(text: str) -> Target:
    """Read ``http://HOST:PORT/PATH`` or, with a weight, ``3@http://HOST:PORT/PATH``.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    before, at, rest = text.partition("@http")
    weight, url = (before, f"http{rest}") if at else ("1", text)
    if not (weight.isascii() and weight.isdigit() and 1 <= int(weight[:9]) <= HEAVIEST):
        raise ValueError(
            f"{text!r}: a weight is a number from 1 to {HEAVIEST} before the URL, as in"
            ' "3@http://127.0.0.1:10000/v1/embeddings"'
        )
    return Target(parse_url(url), int(weight[:9]))


def parse_url(text: str) -> str:
    """Read an ``http`` URL.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    try:
        parts = urlsplit(text)
        right = bool(parts.hostname) and parts.port != 0 and text.isprintable() and " " not in text
    except ValueError:
        raise ValueError(f"{text!r} is not a URL such as {_EXAMPLE}") from None
    if parts.scheme == "https":
        raise ValueError(f"{text!r}: only http is spoken here, as in {_EXAMPLE}")
    if parts.scheme != "http" or not right:
        raise ValueError(f"{text!r} is not a URL such as {_EXAMPLE}")
    return text
