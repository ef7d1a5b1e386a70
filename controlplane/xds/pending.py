"""What is to be sent, and what was sent and not answered yet."""

from collections.abc import Sequence
from typing import Final

from controlplane.resources.resource import Resource

ABSENT: Final = ""
"""In place of a version: the client was told that there is no resource of this name."""


class Pending:
    """What a client should be sent; false if that is nothing.

    Attributes:
        changed: Resources that it lacks or holds in another version.
        absent: Names that it asked for and that do not exist.
        removed: Names that it may still hold and that are no more.
        contents: All of these by name, None for one that does not exist.
    """

    # One is made for every response: a frozen dataclass takes four times as long.
    __slots__ = ("absent", "changed", "contents", "removed")

    def __init__(
        self,
        changed: Sequence[Resource] = (),
        absent: Sequence[str] = (),
        removed: Sequence[str] = (),
    ) -> None:
        self.changed = tuple(changed)
        self.absent = tuple(absent)
        self.removed = tuple(removed)
        self.contents: dict[str, Resource | None] = {it.name: it for it in changed}
        for name in absent:
            self.contents[name] = None
        for name in removed:
            self.contents[name] = None

    def __bool__(self) -> bool:
        return bool(self.contents)


class Outstanding:
    """A response that was sent and not yet acknowledged or rejected.

    Attributes:
        nonce: Of the response.
        contents: What was new in it by name, None for what does not exist; the client may lose
            interest in some of it before it answers.
        plain_answer: The encoded request that would acknowledge it and say nothing else; None
            where that is not known.
    """

    __slots__ = ("contents", "nonce", "plain_answer")

    def __init__(
        self, nonce: str, contents: dict[str, Resource | None], plain_answer: bytes | None
    ) -> None:
        self.nonce = nonce
        self.contents = contents
        self.plain_answer = plain_answer
