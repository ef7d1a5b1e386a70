"""What one Envoy should hold at one moment, and what of it has changed since another."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from controlplane.resources.resource import Resource

Changes: TypeAlias = Mapping[str, frozenset[str]]
"""Names of resources that came, changed or went, by the URLs of the types that have any."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The age of a snapshot among those with which it can be compared.

    Attributes:
        line: The same object in all of them.
        number: Greater in the newer one.
    """

    line: object = field(default_factory=object)
    number: int = 0

    def next(self) -> "Revision":
        """The one after this."""
        return Revision(self.line, self.number + 1)


class Snapshot(ABC):
    """Everything that one Envoy should hold."""

    @property
    @abstractmethod
    def revision(self) -> Revision:
        """Tells two snapshots apart, without keeping either."""

    @abstractmethod
    def get(self, type_url: str, name: str) -> Resource | None:
        """A resource; None when there is none of this type and name."""

    @abstractmethod
    def names(self, type_url: str) -> Collection[str]:
        """The names of all resources of a type; empty for a type that is not served."""

    @abstractmethod
    def changed_since(self, revision: Revision | None) -> Changes | None:
        """What may differ from the snapshot of this revision; it may name too much.

        Returns:
            None when it is not known any more, so that everything must be compared.
        """

    @property
    def keeps_any(self) -> bool:
        """Whether there may be anything that clients are to keep; see `keeps`."""
        return False

    def keeps(self, type_url: str, name: str, version: str | None) -> bool:  # noqa: ARG002
        """Whether a client that has something from an earlier stream is to keep it as it is.

        Args:
            type_url: The type.
            name: Of the resource; ``*`` for all that the client has of this type.
            version: That the client has; None where that is not known.
        """
        return False

    def type(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of one type by name."""
        found = ((name, self.get(type_url, name)) for name in sorted(self.names(type_url)))
        return {name: resource for name, resource in found if resource is not None}
