"""Show what a change would lead to: resources as Envoys would get them, and a diff."""

from collections.abc import Iterator
from typing import Any

from controlplane.api.errors import pointer
from controlplane.plane import Preview
from controlplane.resources.catalog import Catalog
from controlplane.resources.messages import to_json

Found = tuple[tuple[str | int, ...], Any, Any]


def preview_view(preview: Preview, pool: str) -> dict[str, Any]:
    """Build the answer to ``?dry_run=true``.

    Args:
        preview: The preview of the command.
        pool: The command's pool; its resources are shown even where they stay the same.
    """
    names = sorted({*preview.pools, pool})
    held, wanted = _resources(preview.held, names), _resources(preview.wanted, names)
    diff = [
        {
            "type_url": url,
            "name": name,
            "pointer": pointer(path),
            "before": before,
            "after": after,
        }
        # A pool's long requests may have a cluster of their own, with another name.
        for url, name in sorted(held.keys() | wanted.keys())
        for path, before, after in differing(held.get((url, name)), wanted.get((url, name)))
    ]
    return {
        "dry_run": True,
        "changes": bool(diff),
        "when_ready": list(preview.unready),
        "resources": _by_type(wanted),
        "diff": diff,
    }


def resources_view(catalog: Catalog, pool: str) -> dict[str, Any]:
    """Show what Envoys get of a pool."""
    return {"pool": pool, "resources": _by_type(_resources(catalog, [pool]))}


def _by_type(found: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    resources: dict[str, dict[str, Any]] = {}
    for (url, name), document in found.items():
        resources.setdefault(url, {})[name] = document
    return resources


def differing(before: Any, after: Any, path: tuple[str | int, ...] = ()) -> Iterator[Found]:
    """Find the smallest parts of two documents that differ; a missing part is null.

    What two lists have in common at both ends is left out first, so that one inserted or removed
    item is one difference.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from differing(before.get(key), after.get(key), (*path, key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _of_lists(before, after, path)
    elif before != after:
        yield path, before, after


def _of_lists(before: list[Any], after: list[Any], path: tuple[str | int, ...]) -> Iterator[Found]:
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next(
        (i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head
    )
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    for index in range(max(len(old), len(new))):
        yield from differing(
            old[index] if index < len(old) else None,
            new[index] if index < len(new) else None,
            (*path, head + index),
        )


def _resources(catalog: Catalog, pools: list[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """By type and name."""
    return {
        (url, resource.name): to_json(url, resource)
        for pool in pools
        if (held := catalog.pools.get(pool)) is not None
        for url, resources in held.resources.items()
        for resource in resources
    }
