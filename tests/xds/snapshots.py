"""Snapshots of made-up resources, whose contents are short texts."""

from collections.abc import Collection, Mapping
from functools import cache

from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    Resource,
    Revision,
    Snapshot,
)


class Fixed(Snapshot):
    """A snapshot of given resources, by type URL and name."""

    def __init__(self, resources: Mapping[str, Mapping[str, Resource]]) -> None:
        super().__init__(Revision())
        self._resources = resources

    def get(self, type_url: str, name: str) -> Resource | None:
        return self._resources.get(type_url, {}).get(name)

    def names(self, type_url: str) -> Collection[str]:
        return self._resources.get(type_url, {}).keys()


@cache
def resource(type_url: str, name: str, content: str, salt: str = "") -> Resource:
    """A resource that says its own name, as real ones do: state of the world has no other place."""
    message = f"{name}\0{content}".encode()
    claims = content if type_url == LISTENER else ""
    return Resource.of(type_url, name, message, salt=salt.encode(), claims=claims)


def snapshot(**by_type: Mapping[str, str]) -> Fixed:
    """A snapshot of resources by type and name, whose versions depend on the given text.

    As in the real one, the version of an assignment depends on the cluster of its name too.
    """
    urls = {
        "clusters": CLUSTER,
        "endpoints": ENDPOINT,
        "secrets": SECRET,
        "listeners": LISTENER,
        "routes": ROUTE,
    }
    clusters = by_type.get("clusters", {})
    return Fixed(
        {
            urls[kind]: {
                name: resource(
                    urls[kind],
                    name,
                    content,
                    salt=clusters.get(name, "") if kind == "endpoints" else "",
                )
                for name, content in resources.items()
            }
            for kind, resources in by_type.items()
        }
    )
