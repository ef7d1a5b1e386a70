"""A small made-up fleet that changes: what Envoys should hold, and what of it has changed."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    TYPE_URLS,
    Changes,
    Resource,
    Revision,
    Snapshot,
)
from tests.xds.snapshots import resource

NAMES = {
    CLUSTER: ("a", "b", "c"),
    ENDPOINT: ("a", "b", "c"),
    LISTENER: ("l", "m"),
    ROUTE: ("r", "s"),
}
"""Of the resources that may exist."""

BAD = "bad"
"""What a content begins with that no client accepts."""


def target(content: str) -> str:
    """The cluster that a listener or a route points to."""
    return content.rpartition(" to ")[2]


@dataclass(frozen=True)
class Look:
    """The world at one moment."""

    revision: Revision
    contents: dict[str, dict[str, str]]

    def resource(self, type_url: str, name: str) -> Resource | None:
        content = self.contents[type_url].get(name)
        if content is None:
            return None
        salt = self.contents[CLUSTER].get(name, "") if type_url == ENDPOINT else ""
        return resource(type_url, name, content, salt)


@dataclass
class World:
    """What exists now; contents are never the same twice, except for one that comes back.

    Whatever a listener or a route points to exists, and a cluster has endpoints: as in the fleet.
    """

    looks: list[Look] = field(
        default_factory=lambda: [Look(Revision(), {url: {} for url in TYPE_URLS})]
    )
    past: defaultdict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0

    @property
    def now(self) -> Look:
        return self.looks[-1]

    def put(self, contents: dict[str, dict[str, str]], type_url: str, name: str, how: str) -> None:
        """Give a resource another content: a good one, a bad one, or one that it had before."""
        clusters = sorted(contents[CLUSTER])
        self.count += 1
        content = f"{BAD if how == BAD else 'good'} {self.count}"
        if type_url == ENDPOINT and name not in contents[CLUSTER]:
            return
        if type_url in (LISTENER, ROUTE):
            if not clusters:
                return
            content += f" to {clusters[self.count % len(clusters)]}"
        before = [
            item
            for item in self.past[type_url, name]
            if type_url in (CLUSTER, ENDPOINT) or target(item) in clusters
        ]
        if how == "back" and before:
            content = before[self.count % len(before)]
        self.past[type_url, name].append(content)
        contents[type_url][name] = content
        if type_url == CLUSTER:
            contents[ENDPOINT].setdefault(name, f"good {self.count}")

    def remove(self, contents: dict[str, dict[str, str]], type_url: str, name: str) -> None:
        """Remove a resource; what points to a cluster leaves it in the same change."""
        if type_url == ENDPOINT:
            return
        contents[type_url].pop(name, None)
        if type_url != CLUSTER:
            return
        contents[ENDPOINT].pop(name, None)
        for url in (LISTENER, ROUTE):
            for pointing, content in [*contents[url].items()]:
                if target(content) == name:
                    del contents[url][pointing]
                    self.put(contents, url, pointing, "good")

    def change(self, steps: list[tuple[str, int, str]]) -> None:
        """Several changes that are seen together."""
        contents = {url: dict(held) for url, held in self.now.contents.items()}
        for url, index, how in steps:
            name = NAMES[url][index % len(NAMES[url])]
            if how == "removed":
                self.remove(contents, url, name)
            else:
                self.put(contents, url, name, how)
        self.looks.append(Look(self.now.revision.next(), contents))

    def snapshot(self, *, tells: bool) -> Snapshot:
        """What is to be held now, which can or cannot tell what has changed."""
        return _Shown(self, len(self.looks) - 1, tells=tells)


class _Shown(Snapshot):
    def __init__(self, world: World, number: int, *, tells: bool) -> None:
        self._world = world
        self._look = world.looks[number]
        self._tells = tells
        super().__init__(self._look.revision)

    def get(self, type_url: str, name: str) -> Resource | None:
        return self._look.resource(type_url, name)

    def names(self, type_url: str) -> Collection[str]:
        return self._look.contents[type_url].keys()

    def changed_since(self, revision: Revision | None) -> Changes | None:
        if not self._tells or revision is None:
            return None
        changed: dict[str, frozenset[str]] = {}
        looks = self._world.looks[revision.number : self.revision.number + 1]
        for url, names in NAMES.items():
            changed[url] = frozenset(
                name
                for name in names
                for before, after in pairwise(looks)
                if before.resource(url, name) != after.resource(url, name)
            )
        return changed
