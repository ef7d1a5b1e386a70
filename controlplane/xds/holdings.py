"""Which resources of one type a client holds, in which versions."""

from collections.abc import Collection, Mapping

from controlplane.resources.resource import Resource
from controlplane.xds.pending import ABSENT
from controlplane.xds.versions import mark, written


class Holdings:
    """What a client is known to hold.

    Attributes:
        versions: By name; `ABSENT` for what it was told does not exist, None where it holds a
            version that is not known, or nothing.
        good: The resources that it accepted last, by name; None where they are not kept.
    """

    __slots__ = ("_total", "good", "versions")

    def __init__(self, versions: Mapping[str, str], *, keep: bool) -> None:
        """Begin with what the client says that it holds.

        Args:
            versions: By name.
            keep: Whether the resources are kept too, so that they can be sent again.
        """
        self.versions: dict[str, str | None] = {n: v or None for n, v in versions.items()}
        self.good: dict[str, Resource] | None = {} if keep else None
        self._total = sum(mark(name, version) for name, version in versions.items() if version)

    @property
    def version(self) -> str:
        """The version of all that it holds."""
        return written(self._total)

    def copy(self) -> "Holdings":
        """The same holdings, to be changed apart."""
        other = Holdings({}, keep=False)
        other.versions = self.versions.copy()
        other.good = None if self.good is None else self.good.copy()
        other._total = self._total
        return other

    def accept(self, name: str, resource: Resource | None) -> None:
        """It holds this resource, or knows that there is none."""
        self._set(name, resource.version if resource else ABSENT)
        if self.good is not None:
            if resource:
                self.good[name] = resource
            else:
                self.good.pop(name, None)

    def doubt(self, name: str) -> None:
        """It refused a version: it holds the one before, or nothing, or even this one."""
        self._set(name, None)

    def forget(self, name: str) -> None:
        """Whatever it holds does not matter any more."""
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
        return written(total)

    def _set(self, name: str, version: str | None) -> None:
        if known := self.versions.get(name):
            self._total -= mark(name, known)
        if version:
            self._total += mark(name, version)
        self.versions[name] = version


def version_of(resources: Collection[Resource]) -> str:
    """The version of a client's holdings that are just these."""
    return written(sum(mark(resource.name, resource.version) for resource in resources))
