"""What is embedded: words of so many tokens as a distribution says, or texts from a file. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

LONGEST: Final = 100_000
"""Tokens that may be asked for at most; what a distribution draws beyond is cut to it."""

_COMMON: Final = """
    the of and to in is that it was for on are as with his they at be this have from or one had
    by word but not what all were we when your can said there use an each which she do how their
    if will up other about out many then them these so some her would make like him into time has
    look two more write go see number no way could people my than first water been call who oil
    its now find long down day did get come made may part ship load line sea harbor wind north
"""
_WORDS: Final = tuple(_COMMON.split())
"""A token each in the vocabularies of BERT and of most byte-pair encoders."""


class Sizes(Protocol):
    """How long texts are."""

    def draw(self, random: Random) -> int:
        """Draw a length in tokens."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Each text has so many tokens."""

    tokens: int

    def draw(self, random: Random) -> int:  # noqa: ARG002 - there is nothing to draw
        """The length."""
        return self.tokens


@dataclass(frozen=True, slots=True)
class Lognormal:
    """A few texts are much longer than most.

    Attributes:
        sigma: Of the logarithm of a length; at 1, one in a hundred has over six times the mean.
    """

    mean: float
    sigma: float

    def draw(self, random: Random) -> int:
        """Draw a length in tokens."""
        drawn = random.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return max(round(min(drawn, LONGEST)), 1)


class Texts(Protocol):
    """Where texts come from."""

    def draw(self, random: Random) -> str:
        """Draw a text."""


@dataclass(frozen=True, slots=True)
class Words:
    """Random words, so that no cache along the way answers."""

    sizes: Sizes

    def draw(self, random: Random) -> str:
        """Draw a text."""
        return " ".join(random.choices(_WORDS, k=self.sizes.draw(random)))


@dataclass(frozen=True, slots=True)
class Given:
    """Texts that somebody has, each as likely as any other."""

    texts: Sequence[str]

    def draw(self, random: Random) -> str:
        """Draw a text."""
        return random.choice(self.texts)


def parse_sizes(text: str) -> Sizes:
    """Read ``100``, ``fixed:100`` or ``lognormal:100:1`` (mean and sigma)."""
    wrong = ValueError(
        f'{text!r} is no size: write a number of tokens from 1 to {LONGEST}, as in "128", or'
        ' "lognormal:MEAN:SIGMA" with a sigma up to 3, as in "lognormal:100:1"'
    )
    number = text.removeprefix("fixed:")
    if number.isascii() and number.isdigit():
        if not 1 <= int(number[:9]) <= LONGEST:
            raise wrong
        return Fixed(int(number[:9]))
    parts = text.split(":")
    try:
        if parts[0] != "lognormal":
            raise wrong
        mean, sigma = (float(part) for part in parts[1:])
    except ValueError:
        raise wrong from None
    if not (1 <= mean <= LONGEST and 0 <= sigma <= 3):
        raise wrong
    return Lognormal(mean, sigma)


def parse_texts(content: str) -> Given:
    """Read texts, one a line; empty lines are no texts."""
    texts = tuple(line.strip() for line in content.splitlines() if line.strip())
    if not texts:
        raise ValueError("has no text: write one on each line")
    return Given(texts)
