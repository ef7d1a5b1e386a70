"""The classes by which requests are reported: those of the pool, or those that sizes show. Pure.

Without classes in the pool, requests are parted by the threshold the control plane would choose.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.api.schema.pools import Match
from controlplane.balancing.capacity import tokens_of
from controlplane.telemetry.sizes import Sizes

APART: Final = 10.0
"""Sizes have classes where the mean of the large ones is so many times that of the small ones."""

LARGE: Final = "bulk"
OTHERS: Final = "default"


@dataclass(frozen=True, slots=True)
class RequestClass:
    """A class of requests.

    Attributes:
        match: Which requests belong to it; None: all others.
    """

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
        and (match.prefix is None or path.startswith(match.prefix))
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
    return tokens_of(size)
