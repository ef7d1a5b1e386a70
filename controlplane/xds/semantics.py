"""What the responses of one type say to a client, and what it says when it rejects one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Semantics:
    """Where protocols, types and clients differ; the defaults are those of delta.

    Attributes:
        repeats: Whether a response has all that the client is to hold, and not only news.
        tells_removals: Whether a response can say that a resource is no more.
        names_what_it_took_apart: Whether the client names the bad resources of every response of
            which it took the others, so that of one without names it took nothing. It matters
            where responses repeat.
    """

    repeats: bool = False
    tells_removals: bool = True
    names_what_it_took_apart: bool = False
