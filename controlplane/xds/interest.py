"""Which resources of one type a client wants.

Rules cited as "xDS" are from Envoy's page "xDS REST and gRPC protocol".
"""

from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass, field
from typing import Final

from controlplane.xds.limits import limit_names

WILDCARD: Final = "*"
"""xDS: the name by which a client asks for every resource."""


@dataclass(slots=True)
class Interest:
    """What a client wants; the names need not exist.

    Attributes:
        wildcard: Whether every resource is wanted.
        names: Those wanted by name, with or without the wildcard.
        named: Whether the client ever asked for anything by name, the wildcard included. Until
            then a wildcard is one that it did not ask for, and no request has to repeat it.
    """

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    named: bool = False

    def __contains__(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def copy(self) -> "Interest":
        """The same interest, to be changed apart."""
        return Interest(self.wildcard, self.names.copy(), self.named)

    def add(self, names: Iterable[str]) -> set[str]:
        """The client wants these as well.

        Returns:
            The same without the wildcard.

        Raises:
            ProtocolError: When it wants too many names.
        """
        added = set(names)
        limit_names(len(self.names | added), added)
        self.named |= bool(added)
        self.wildcard |= WILDCARD in added
        added.discard(WILDCARD)
        self.names |= added
        return added

    def drop(self, names: Iterable[str]) -> set[str]:
        """The client wants these no more.

        Returns:
            Those that it had asked for, without the wildcard.
        """
        dropped = set(names)
        if WILDCARD in dropped:
            self.wildcard = False
        dropped &= self.names
        self.names -= dropped
        return dropped

    def within(self, names: Set[str]) -> Set[str]:
        """Those of these names that are wanted."""
        return names if self.wildcard else names & self.names

    def given(self, existing: Collection[str]) -> Set[str]:
        """All names that are wanted when there are resources of these."""
        return self.names | {*existing} if self.wildcard else self.names
