"""The texts that wait, and the batches they are computed in, as in text-embeddings-inference.

Pure. Texts of all requests stand in one queue, first come first served; a batch takes from its
front what fits into a number of tokens. Every text holds a permit from its request's arrival until
its answer, and who finds too few of them is turned away at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the queue needs to know of a text."""

    @property
    def tokens(self) -> int:
        """How long it is."""


T = TypeVar("T", bound=Waiting)


class OverloadedError(Exception):
    """There are not enough permits left."""


class Permits:
    """How many texts may be here at once."""

    def __init__(self, count: int) -> None:
        """Give none out yet."""
        self._count = count
        self._left = count

    def take(self, texts: int) -> None:
        """Give out one for each text; they are to be given back.

        Raises:
            OverloadedError: There are fewer; nothing was taken.
        """
        if texts > self._left:
            raise OverloadedError(f"The server is overloaded: it holds {self._count} texts at most")
        self._left -= texts

    def give_back(self, texts: int) -> None:
        """Take them back."""
        self._left += texts


class Queue(Generic[T]):
    """Texts in the order in which they came."""

    def __init__(self, budget: int) -> None:
        """Start empty.

        Args:
            budget: Tokens in a batch at most, its padding included.
        """
        self._budget = budget
        self._texts: deque[T] = deque()

    def __len__(self) -> int:
        """How many texts wait."""
        return len(self._texts)

    def append(self, texts: Iterable[T]) -> None:
        """Let texts wait."""
        self._texts.extend(texts)

    def leave(self, texts: Sequence[T]) -> None:
        """Take out those of the texts that still wait: nobody wants them any more."""
        gone = set(texts)
        self._texts = deque(each for each in self._texts if each not in gone)

    def next_batch(self) -> list[T]:
        """Take out the longest run from the front that fits; a text that is too long goes alone."""
        batch: list[T] = []
        longest = 0
        while self._texts:
            longest = max(longest, self._texts[0].tokens)
            if batch and longest * (len(batch) + 1) > self._budget:
                break
            batch.append(self._texts.popleft())
        return batch
