"""What is to be sent, and what was sent and not answered yet."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.resources.resource import Resource

ABSENT: Final = ""
"""In place of a version: the client was told that there is no resource of this name."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What a client should be sent; false if that is nothing.

    Attributes:
        changed: Resources that it lacks or holds in another version.
        absent: Names that it asked for and that do not exist.
        removed: Names that it may still hold and that are no more.
        contents: All of these by name, None for one that does not exist.
    """

    changed: tuple[Resource, ...] = ()
    absent: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    contents: Mapping[str, Resource | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        contents: dict[str, Resource | None] = dict.fromkeys((*self.absent, *self.removed))
        contents.update((resource.name, resource) for resource in self.changed)
        object.__setattr__(self, "contents", contents)

    def __bool__(self) -> bool:
        return bool(self.contents)


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A response that was sent and not yet acknowledged or rejected.

    Attributes:
        nonce: Of the response.
        contents: What was new in it by name, None for what does not exist; the client may lose
            interest in some of it before it answers.
    """

    nonce: str
    contents: dict[str, Resource | None]


def mentions(message: str, name: str) -> bool:
    """Whether a text has a resource's name in it, and not only as a part of a longer one."""
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", message) is not None
