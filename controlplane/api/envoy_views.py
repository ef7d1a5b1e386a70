"""Envoys as plain data: the connected nodes, their resources, and what a change would send them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from controlplane.api.answers import pointer
from controlplane.api.events import Refusal
from controlplane.api.views import plain
from controlplane.plane import Preview
from controlplane.plane.envoys import Dispute
from controlplane.resources.catalog import Catalog
from controlplane.resources.messages import to_json
from controlplane.turns import Turns
from controlplane.xds import NodeStatus, TypeStatus


async def nodes_view(
    nodes: Sequence[NodeStatus],
    now: float,
    disputes: Iterable[Dispute] = (),
    refusals: Iterable[Refusal] = (),
    sent: Mapping[str, Mapping[str, float]] = {},
) -> dict[str, Any]:
    """Show every stream of every node.

    `now` is of the xDS server's monotonic clock; `sent` has requests per second by node and pool.
    """
    turns, views = Turns(), []
    by_node: dict[str, list[Dispute]] = {}
    for dispute in disputes:
        by_node.setdefault(dispute.opinion.node, []).append(dispute)
        await turns.give_way()
    for node in nodes:
        views.append(_node(node, now, by_node.get(node.id, ()), sent.get(node.id, {})))
        await turns.give_way()
    refused = [
        {"id": each.node, "peer": each.peer, "reason": each.reason, "age_s": plain(now - each.at)}
        for each in refusals
    ]
    return {"nodes": views, "refused": refused}


def _node(
    node: NodeStatus, now: float, disputes: Iterable[Dispute], sent: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "id": node.id,
        "cluster": node.cluster,
        "locality": {
            "region": node.locality.region,
            "zone": node.locality.zone,
            "sub_zone": node.locality.sub_zone,
        },
        "user_agent": node.user_agent,
        "version": node.version,
        "connected_s": plain(now - node.connected_at),
        "in_sync": all(status.in_sync for status in node.types),
        "types": [_type(status, now) for status in node.types],
        "disagrees": [
            {
                "pool": dispute.pool,
                "replica": dispute.replica,
                "sees": "healthy" if dispute.opinion.is_healthy else "unhealthy",
                "for_s": plain(dispute.seconds),
            }
            for dispute in disputes
        ],
        "identity": node.identity,
        "sends": {pool: plain(rate) for pool, rate in sorted(sent.items())},
    }


def _type(status: TypeStatus, now: float) -> dict[str, Any]:
    rejection = status.rejection
    return {
        "type_url": status.type_url,
        "wildcard": status.wildcard,
        "subscribed": status.subscribed,
        "sent": status.sent,
        "sent_age_s": _age(status.sent_at, now),
        "acknowledged": status.acknowledged,
        "acknowledged_age_s": _age(status.acknowledged_at, now),
        "in_sync": status.in_sync,
        "held": status.held,
        "refused": list(status.refused),
        "last_rejection": None
        if rejection is None
        else {
            "names": list(rejection.names),
            "message": rejection.message,
            "age_s": plain(now - rejection.at),
        },
    }


def _age(at: float | None, now: float) -> Any:
    return None if at is None else plain(now - at)


Found = tuple[tuple[str | int, ...], Any, Any]


def preview_view(preview: Preview, pool: str) -> dict[str, Any]:
    """Build the answer to ``?dry_run=true``; `pool` is shown even where it stays the same."""
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
