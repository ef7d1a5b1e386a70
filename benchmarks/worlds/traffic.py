"""Who asks for what: classes of requests, how many texts they have, and how rates change.

The same seed gives the same requests to every contender. Times are seconds after the begin of the
load.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist
from typing import Final, Protocol, Self

from controlplane.tools.load.workload import Fixed, Lognormal

BYTES_PER_TOKEN: Final = 4
"""Of a text, as of English; of other languages, and of code, fewer."""
BYTES_OF_TEXT: Final = 3
"""Two quotes and a comma."""
BYTES_OF_REQUEST: Final = 40
"""All else in the JSON of a body."""

MEAN_TOKENS: Final = 100.0
"""Of a text of which the length is drawn."""

SEARCH, BULK = "search", "bulk"


class Length(Protocol):
    """How long texts are."""

    @property
    def mean(self) -> float:
        """Tokens."""

    @property
    def mean_square(self) -> float:
        """Of tokens squared."""

    def draw(self, random: Random) -> int:
        """Draw a length in tokens."""


@dataclass(frozen=True, slots=True)
class Same:
    """Each text has so many tokens."""

    tokens: int

    @property
    def mean(self) -> float:
        """Tokens."""
        return float(self.tokens)

    @property
    def mean_square(self) -> float:
        """Of tokens squared."""
        return float(self.tokens**2)

    def draw(self, random: Random) -> int:
        """The length."""
        return Fixed(self.tokens).draw(random)


@dataclass(frozen=True, slots=True)
class Spread:
    """Lognormal lengths with a mean of `MEAN_TOKENS`; the model cuts texts that are too long.

    Attributes:
        sigma: Of the logarithm; at 1, one in a hundred has over six times the mean.
        longest: Tokens that the model takes.
    """

    sigma: float
    longest: float = math.inf

    @property
    def mean(self) -> float:
        """Tokens."""
        return self._moment(1)

    @property
    def mean_square(self) -> float:
        """Of tokens squared."""
        return self._moment(2)

    def draw(self, random: Random) -> int:
        """Draw a length in tokens."""
        return int(min(Lognormal(MEAN_TOKENS, self.sigma).draw(random), self.longest))

    def _moment(self, power: int) -> float:
        """E min(X, longest)^power."""
        variance = self.sigma**2
        middle = math.log(MEAN_TOKENS) - variance / 2
        whole = math.exp(power * middle + power**2 * variance / 2)
        if math.isinf(self.longest):
            return whole
        cut = (math.log(self.longest) - middle) / self.sigma
        normal = NormalDist()
        below = whole * normal.cdf(cut - power * self.sigma)
        return below + self.longest**power * (1 - normal.cdf(cut))


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is to be sent.

    Attributes:
        at: Seconds after the begin of the load.
        kind: The name of its class.
        texts: The tokens of each text.
        tokens: Of all of them.
        bytes: Of its body.
        worker: Of a job, who waits for the answer and then sends the next; None: nobody does.
    """

    at: float
    kind: str
    texts: tuple[int, ...]
    tokens: int
    bytes: int
    worker: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """One class of requests.

    Attributes:
        kind: The name of the class.
        share: Its part of all requests, while no rate changes.
        texts: In a request.
        length: Of a text.
        bytes_per_token: Of its texts.
    """

    kind: str
    share: float
    texts: int
    length: Length
    bytes_per_token: float = BYTES_PER_TOKEN

    @property
    def tokens(self) -> float:
        """Of a request, on average."""
        return self.texts * self.length.mean

    @property
    def bytes(self) -> float:
        """Of a body, on average."""
        return self.body(self.texts, self.tokens)

    def body(self, texts: int, tokens: float) -> float:
        """Bytes of the body of a request with so many texts and tokens."""
        return BYTES_OF_REQUEST + BYTES_OF_TEXT * texts + self.bytes_per_token * tokens


@dataclass(frozen=True, slots=True)
class Job:
    """Workers of an indexing job: each sends its next request when the last one is answered.

    Attributes:
        requests: What they ask; its share means nothing.
        workers: How many.
        begin: Seconds after the begin of the load.
        end: When no more is sent.
    """

    requests: Stream
    workers: int
    begin: float = 0.0
    end: float = math.inf


@dataclass(frozen=True, slots=True)
class Phase:
    """For some time requests come so many times as often.

    Attributes:
        begin: Seconds after the begin of the load.
        end: Likewise.
        factor: 0: none come.
        kind: Of which class; None: of all.
    """

    begin: float
    end: float
    factor: float
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """All classes, and when they come more or less often."""

    name: str
    streams: tuple[Stream, ...]
    phases: tuple[Phase, ...] = ()
    job: Job | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of classes."""
        streams = (*self.streams, self.job.requests) if self.job is not None else self.streams
        return tuple(dict.fromkeys(stream.kind for stream in streams))

    def with_bytes(self, per_token: float) -> Self:
        """The same in texts of which a token has so many bytes."""
        streams = tuple(replace(stream, bytes_per_token=per_token) for stream in self.streams)
        return replace(self, name=f"{self.name}, {per_token:g} bytes a token", streams=streams)

    @property
    def tokens(self) -> float:
        """Of a request, on average while no rate changes."""
        return math.fsum(stream.share * stream.tokens for stream in self.streams)

    @property
    def pad(self) -> float:
        """Tokens that a full batch leaves of its budget on average, as the next text is too long.

        The text at the limit is found there in proportion to its length, and the limit anywhere in
        it: E L² / 2 E L over texts.
        """
        texts = [(stream.share * stream.texts, stream.length) for stream in self.streams]
        total = math.fsum(share * length.mean for share, length in texts)
        return math.fsum(share * length.mean_square for share, length in texts) / total / 2

    @property
    def tokens_of_text(self) -> float:
        """Of a text, on average while no rate changes."""
        return self.tokens / math.fsum(stream.share * stream.texts for stream in self.streams)

    @property
    def pad_of_texts(self) -> float:
        """Texts that a full batch leaves, as the next request has too many; as `pad`."""
        sizes = [(stream.share, stream.texts) for stream in self.streams]
        total = math.fsum(share * texts for share, texts in sizes)
        return math.fsum(share * texts * (texts - 1) for share, texts in sizes) / total / 2

    def part(self, kind: str) -> float:
        """Of all tokens, those of a class while no rate changes."""
        return sum(s.share * s.tokens for s in self.streams if s.kind == kind) / self.tokens

    def factor(self, kind: str, at: float) -> float:
        """How many times as often a class comes at a time."""
        found = 1.0
        for phase in self.phases:
            if phase.begin <= at < phase.end and phase.kind in (None, kind):
                found *= phase.factor
        return found


def arrivals(traffic: Traffic, seed: int, rate: float, seconds: float) -> Iterator[Arrival]:
    """A Poisson process of requests.

    Args:
        traffic: Of which kinds.
        seed: Decides everything.
        rate: Requests per second while no rate changes.
        seconds: How long.
    """
    random = Random(seed)
    streams = traffic.streams
    highest, at = rate * _highest(traffic), 0.0
    while (at := at + random.expovariate(highest)) < seconds:
        stream: Stream | None = streams[0]
        if len(streams) > 1 or traffic.phases:
            stream = _drawn(traffic, at, highest / rate * random.random())
        if stream is not None:
            yield request(stream, at, random)


def _highest(traffic: Traffic) -> float:
    """The most that all rates together come to, relative to when none changes."""
    begins = {0.0, *(phase.begin for phase in traffic.phases), *(p.end for p in traffic.phases)}
    return max(
        math.fsum(stream.share * traffic.factor(stream.kind, at) for stream in traffic.streams)
        for at in begins
    )


def _drawn(traffic: Traffic, at: float, point: float) -> Stream | None:
    for stream in traffic.streams:
        point -= stream.share * traffic.factor(stream.kind, at)
        if point < 0:
            return stream
    return None


def request(stream: Stream, at: float, random: Random, worker: int | None = None) -> Arrival:
    """Draw a request."""
    texts = tuple([stream.length.draw(random) for _ in range(stream.texts)])
    tokens = sum(texts)
    return Arrival(at, stream.kind, texts, tokens, int(stream.body(len(texts), tokens)), worker)


def _mixed(name: str, bulk: float, texts: int, phases: Sequence[Phase] = ()) -> Traffic:
    streams = (
        Stream(SEARCH, 1 - bulk, 1, Same(16)),
        Stream(BULK, bulk, texts, Same(100)),
    )
    return Traffic(name, streams, tuple(phases))


MIXED: Final = _mixed("90/10", 0.1, 20)
"""Searches of a sentence, and one request in ten of an indexing job: what most fleets serve."""
RARE_BULK: Final = _mixed("99/1, 100 texts", 0.01, 100)
HALF_BULK: Final = _mixed("50/50", 0.5, 20)


def bulk_job(begin: float, end: float) -> Traffic:
    """Searches all the time, and an indexing job that runs between two times."""
    phases = (Phase(0.0, begin, 0.0, BULK), Phase(end, math.inf, 0.0, BULK))
    return _mixed("a bulk job", 0.1, 20, phases)


def workers(count: int, begin: float = 0.0) -> Traffic:
    """Searches, and an indexing job of so many workers, which takes all that is left."""
    search, bulk = MIXED.streams
    return Traffic(f"{count} workers", (replace(search, share=1.0),), job=Job(bulk, count, begin))


def burst(begin: float, end: float, factor: float) -> Traffic:
    """Everything comes so many times as often between two times."""
    return _mixed("a burst", 0.1, 20, (Phase(begin, end, factor),))


def more_searches(begin: float, end: float, factor: float) -> Traffic:
    """Searches come so many times as often between two times."""
    return _mixed("more searches", 0.1, 20, (Phase(begin, end, factor, SEARCH),))


def single_texts(sigma: float, longest: float = math.inf) -> Traffic:
    """One text in each request, of lognormal length."""
    return Traffic(f"lognormal {sigma:g}", (Stream("", 1.0, 1, Spread(sigma, longest)),))


def alike(tokens: int) -> Traffic:
    """One text in each request, all of one length."""
    return Traffic(f"{tokens} tokens", (Stream("", 1.0, 1, Same(tokens)),))
