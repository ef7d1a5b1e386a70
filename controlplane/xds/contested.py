"""Listeners that a client refused because another listener has their address, until they have it.

Envoy takes the removals of a response first, then its listeners one by one, and refuses one whose
address another listener still has (``listener_manager_impl.cc``). Of two that swap their addresses
each has what the other is to have, and Envoy does not look at a refused listener again. So a
listener that was refused for its address is first taken away, with the address that it is to leave,
and then sent again. The control plane does not know the addresses of what a client brings from
another stream; the refusal tells all that is needed.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from controlplane.resources.resource import LISTENER, Resource
from controlplane.resources.snapshot import Snapshot


@dataclass(slots=True)
class Contested:
    """The listeners of one client that wait for an address; of other types there are none.

    Attributes:
        leaving: Names that the client is to be told are no more.
        tried: By name, the version that is sent a second time; refused again, it waits until
            another listener has moved or gone.
        has_moved: Whether another has, of which only a rejection tells so far.
    """

    leaving: set[str] = field(default_factory=set)
    tried: dict[str, str] = field(default_factory=dict)
    has_moved: bool = False

    def copy(self) -> "Contested":
        """The same, to be changed apart."""
        return Contested(self.leaving.copy(), self.tried.copy(), self.has_moved)

    def refused(self, type_url: str, message: str, refused: Mapping[str, Resource]) -> None:
        """Note what a client refused.

        Args:
            type_url: Of the resources.
            message: The client's words.
            refused: By name.
        """
        if type_url != LISTENER:
            return
        for name, resource in refused.items():
            if f"'{name}' has duplicate address" not in message:
                self.tried.pop(name, None)
            elif self.tried.get(name) != resource.version:
                self.tried[name] = resource.version
                self.leaving.add(name)

    def to_remove(self, type_url: str, snapshot: Snapshot) -> list[str]:
        """The names to be taken away now.

        One that shares its address with another listener that is to stay would win nothing, and
        lose what the client still holds of it.
        """
        if not self.leaving:
            return []
        claims = [it.claims for it in snapshot.type(type_url).values()]
        self.leaving = {
            name
            for name in self.leaving
            if (it := snapshot.get(type_url, name)) is not None and claims.count(it.claims) == 1
        }
        return sorted(self.leaving)

    def took_apart(self, names: Iterable[str]) -> None:
        """Note what a client took of a response that it rejected."""
        for name in names:
            self.tried.pop(name, None)
            self.has_moved = True

    def accepted(self, names: Set[str]) -> Set[str]:
        """Note what was in a response that a client accepted.

        Returns:
            The names that are to be looked at again: they were taken away, or wait for an address
            that may be free now.
        """
        left = names & self.leaving
        self.leaving -= left
        self.took_apart(names - left)
        has_moved, self.has_moved = self.has_moved, False
        return left | (self.tried.keys() - self.leaving) if has_moved else left

    def forget(self, name: str) -> None:
        """The client does not want this one any more."""
        self.leaving.discard(name)
        self.tried.pop(name, None)
