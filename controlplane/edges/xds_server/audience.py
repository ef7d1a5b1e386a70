"""Whom a change concerns: the open streams by the pools that they are shown."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from controlplane.resources.snapshot import Changes, Revision, Snapshot
from controlplane.resources.views import View

T = TypeVar("T")


class Catalog(Protocol):
    """Where snapshots come from."""

    @property
    def revision(self) -> Revision:
        """Of every snapshot that comes from here."""

    def view(self, view: View) -> Snapshot:
        """The snapshot for all nodes with this view."""

    def changed_since(self, revision: Revision | None) -> Changes | None:
        """The resources of pools that came, changed or went; None when that is not known."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be served.

    Attributes:
        catalog: The newest.
        noticed_at: When what changed it was noticed, in seconds of the server's clock.
    """

    catalog: Catalog
    noticed_at: float


class Audience(Generic[T]):
    """Members by their views, so that a change need not be offered to all."""

    def __init__(self) -> None:
        self._all_pools: set[T] = set()
        self._by_pool: defaultdict[str, set[T]] = defaultdict(set)

    def add(self, member: T, view: View) -> None:
        """Add a member."""
        if view.pools is None:
            self._all_pools.add(member)
        for pool in view.pools or ():
            self._by_pool[pool].add(member)

    def discard(self, member: T, view: View) -> None:
        """Remove a member, if it is one."""
        self._all_pools.discard(member)
        for pool in view.pools or ():
            if members := self._by_pool.get(pool):
                members.discard(member)
                if not members:
                    del self._by_pool[pool]

    def concerned(self, pools: Iterable[str]) -> set[T]:
        """The members that are shown any of these pools."""
        return self._all_pools.union(*(self._by_pool.get(pool, ()) for pool in pools))
