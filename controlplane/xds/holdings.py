"""What one client holds of one resource type, and what to send next."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from controlplane.resources.resource import Resource

_MODULUS: Final = 1 << 64


@lru_cache(maxsize=1 << 16)
def mark(name: str, version: str) -> int:
    """Hash a resource's name and version: a set's version is the sum of these."""
    return int.from_bytes(blake2b(f"{name}\0{version}".encode(), digest_size=8).digest(), "big")


def version_text(total: int) -> str:
    """Format a sum of marks as the version that clients are shown."""
    return f"{total % _MODULUS:016x}"


ABSENT: Final = ""
"""Stands for a version where the client knows that no resource has this name."""


class Pending:
    """What a client should be sent: changed resources, and absent or removed names (delta).

    `contents` has all of these by name, None for one that does not exist.
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
        self.contents: dict[str, Resource | None] = {each.name: each for each in changed}
        self.contents |= dict.fromkeys((*absent, *removed))

    def __bool__(self) -> bool:
        return bool(self.contents)


class Outstanding:
    """A response that was sent and not yet acknowledged or rejected.

    Its contents are what was new, by name, None for what does not exist. A name that the client
    drops before it answers is taken out.
    """

    __slots__ = ("contents", "nonce")

    def __init__(self, nonce: str, contents: dict[str, Resource | None]) -> None:
        self.nonce = nonce
        self.contents = contents


class Holdings:
    """What a client is known to hold.

    Attributes:
        versions: By name; `ABSENT` for what it knows not to exist, None where it holds a
            version that is not known, or nothing.
        good: The resources that it accepted last, by name; None where they are not needed again.
    """

    __slots__ = ("_total", "good", "versions")

    def __init__(self, versions: Mapping[str, str], *, keep: bool) -> None:
        """Begin with what the client says it holds; `keep` resources to send them again."""
        self.versions: dict[str, str | None] = {n: v or None for n, v in versions.items()}
        self.good: dict[str, Resource] | None = {} if keep else None
        self._total = sum(mark(name, version) for name, version in versions.items() if version)

    @property
    def version(self) -> str:
        """The version of all that it holds."""
        return version_text(self._total)

    def copy(self) -> "Holdings":
        """Copy them."""
        other = Holdings({}, keep=False)
        other.versions = self.versions.copy()
        other.good = None if self.good is None else self.good.copy()
        other._total = self._total
        return other

    def accept(self, name: str, resource: Resource | None) -> None:
        """Note that the client holds this resource, or knows that there is none."""
        self._set(name, resource.version if resource else ABSENT)
        if self.good is not None:
            if resource:
                self.good[name] = resource
            else:
                self.good.pop(name, None)

    def doubt(self, name: str) -> None:
        """Note a NACK: the client holds the version before, or nothing, or even this one."""
        self._set(name, None)

    def forget(self, name: str) -> None:
        """Forget a name: what the client holds of it does not matter any more."""
        self._set(name, ABSENT)
        del self.versions[name]
        if self.good is not None:
            self.good.pop(name, None)

    def version_with(self, contents: Mapping[str, Resource | None]) -> str:
        """The version of all that it will hold when it has accepted these, None for removals."""
        total = self._total
        for name, resource in contents.items():
            if known := self.versions.get(name):
                total -= mark(name, known)
            if resource:
                total += mark(name, resource.version)
        return version_text(total)

    def _set(self, name: str, version: str | None) -> None:
        if known := self.versions.get(name):
            self._total -= mark(name, known)
        if version:
            self._total += mark(name, version)
        self.versions[name] = version


def version_of(resources: Collection[Resource]) -> str:
    """The version of a client's holdings that are just these."""
    return version_text(sum(mark(resource.name, resource.version) for resource in resources))
