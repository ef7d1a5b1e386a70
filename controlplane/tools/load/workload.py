"""What is sent, to which URLs, and what is watched meanwhile, as plain data. Pure."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from controlplane.api.schema.pools import Match
from controlplane.balancing.lengths import BYTES_PER_TOKEN, text_of
from controlplane.config.values import is_below
from controlplane.telemetry.sizes import Sizes
from controlplane.tools.load.schedule import Departure, Step, schedule, turns

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


class Lengths(Protocol):
    """How long texts are."""

    def draw(self, random: Random) -> int:
        """Draw a length in tokens."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Each text has so many tokens."""

    tokens: int

    def draw(self, random: Random) -> int:  # noqa: ARG002 - there is nothing to draw
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
        drawn = random.lognormvariate(math.log(self.mean) - self.sigma**2 / 2, self.sigma)
        return max(round(min(drawn, LONGEST)), 1)


class Texts(Protocol):
    """Where texts come from."""

    def draw(self, random: Random) -> str:
        """Draw a text."""


@dataclass(frozen=True, slots=True)
class Words:
    """Random words, so that no cache along the way answers."""

    sizes: Lengths

    def draw(self, random: Random) -> str:
        return " ".join(random.choices(_WORDS, k=self.sizes.draw(random)))


@dataclass(frozen=True, slots=True)
class Given:
    """Texts that somebody has, each as likely as any other."""

    texts: Sequence[str]

    def draw(self, random: Random) -> str:
        return random.choice(self.texts)


def parse_sizes(text: str) -> Lengths:
    """Read ``100``, ``fixed:100`` or ``lognormal:100:1`` (mean and sigma)."""
    wrong = ValueError(
        f'{text!r} is not a size: write a number of tokens from 1 to {LONGEST}, as in "128", or'
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


APART: Final = 10.0
"""Sizes have classes where the mean of the large ones is so many times that of the small ones."""

LARGE: Final = "bulk"
OTHERS: Final = "default"


@dataclass(frozen=True, slots=True)
class RequestClass:
    """A class of requests."""

    name: str
    match: Match | None

    def __str__(self) -> str:
        which = "all others" if self.match is None else f"requests {self.match}"
        return f"{self.name}: {which}"


Classes = Sequence[RequestClass]
"""In the order in which they are matched; the last takes all others. Empty: there are none."""


def class_of(classes: Classes, path: str, size: int, headers: Mapping[str, str]) -> str:
    """Return the name of a request's class; empty where there are no classes."""
    return next((each.name for each in classes if _takes(each.match, path, size, headers)), "")


def _takes(match: Match | None, path: str, size: int, headers: Mapping[str, str]) -> bool:
    if match is None:
        return True
    wanted = match.header
    return (
        (wanted is None or headers.get(wanted.name.lower()) == wanted.value)
        and (match.prefix is None or is_below(path, match.prefix))
        and (match.min_bytes is None or size >= match.min_bytes)
        and (match.max_bytes is None or size <= match.max_bytes)
    )


def classes_by_size(sizes: Iterable[int]) -> Classes:
    """Part requests by the bytes of their bodies as the control plane does; empty if much alike."""
    seen = Sizes()
    seen.add([*sizes], 0.0)
    split = seen.threshold()
    if split is None or not split.separation >= APART:
        return ()
    return (
        RequestClass(LARGE, Match(min_bytes=split.threshold)),
        RequestClass(OTHERS, None),
    )


def tokens(size: int) -> float:
    """Return the tokens of a body of so many bytes, as the control plane counts them."""
    return text_of(size) / BYTES_PER_TOKEN


HEAVIEST: Final = 1000

MOST: Final = 2000
"""Requests in flight at most, unless the user says otherwise: a safety bound for both sides."""

Body: TypeAlias = Callable[[str], bytes]
"""Makes the body of a text."""

Format: TypeAlias = Literal["openai", "tei"]

HEADERS: Final = {"content-type": "application/json"}
"""Of every request."""

TEXT: Final = "{{text}}"
MODEL: Final = "{{model}}"
"""Placeholders in a template for the text and the model."""

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
        return urlsplit(self.url).path


def parse_target(text: str) -> Target:
    """Read ``http://HOST:PORT/PATH`` or, with a weight, ``3@http://HOST:PORT/PATH``."""
    before, at, rest = text.partition("@http")
    weight, url = (before, f"http{rest}") if at else ("1", text)
    if not (weight.isascii() and weight.isdigit() and 1 <= int(weight[:9]) <= HEAVIEST):
        raise ValueError(
            f"{text!r}: a weight is a number from 1 to {HEAVIEST} before the URL, as in"
            ' "3@http://127.0.0.1:10000/v1/embeddings"'
        )
    return Target(parse_url(url), int(weight[:9]))


def parse_url(text: str) -> str:
    """Read an ``http`` URL."""
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


def body_of(form: Format, model: str) -> Body:
    """Make the body of OpenAI's ``/v1/embeddings`` or of text-embeddings-inference's ``/embed``."""
    if form == "openai":
        return lambda text: json.dumps({"model": model, "input": text}).encode()
    return lambda text: json.dumps({"inputs": text}).encode()


def format_of(path: str) -> Format:
    """Return what a URL's path takes: a server's own ``/embed``, or OpenAI's API."""
    return "tei" if path.rstrip("/").endswith("/embed") else "openai"


def template(content: str, model: str) -> Body:
    """Make bodies from a JSON document with ``{{text}}`` and ``{{model}}`` in its strings."""
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from None
    if not _holds_text(document):
        raise ValueError(f'has no place for a text: write "{TEXT}" where it belongs, in quotes')
    return lambda text: json.dumps(_filled(document, text, model)).encode()


def _holds_text(document: Any) -> bool:
    match document:
        case str():
            return TEXT in document
        case list():
            return any(map(_holds_text, document))
        case dict():
            return any(map(_holds_text, document.values()))
    return False


def _filled(document: Any, text: str, model: str) -> Any:
    match document:
        case str():
            # The model first: a text may hold anything, and is not looked into.
            return document.replace(MODEL, model).replace(TEXT, text)
        case list():
            return [_filled(part, text, model) for part in document]
        case dict():
            return {key: _filled(part, text, model) for key, part in document.items()}
    return document


class LoadError(Exception):
    """Why load cannot be sent or watched; the text is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent.

    Attributes:
        timeout: Seconds after which a request has failed.
        most: Requests in flight at which further ones are held back.
    """

    targets: Sequence[Target]
    bodies: Sequence[Body]
    steps: Sequence[Step]
    texts: Texts
    seed: int
    timeout: float = 30.0
    most: int = MOST
    replica_header: str | None = None
    classes: Classes = ()

    @property
    def seconds(self) -> float:
        """From the begin of the load to its end."""
        return self.steps[-1].end


def departures(workload: Workload) -> Iterator[Departure]:
    """Draw all requests of a workload; the same seed sends the same texts at any rate."""
    random = Random(f"texts {workload.seed}")  # noqa: S311 - decides about no secrets
    dealt = turns([target.weight for target in workload.targets])
    for at, step in schedule(workload.steps, workload.seed):
        target = next(dealt)
        body = workload.bodies[target](workload.texts.draw(random))
        path = workload.targets[target].path
        kind = class_of(workload.classes, path, len(body), HEADERS)
        yield Departure(at, step, target, body, kind, tokens(len(body)))
