"""Show the connected Envoys as plain data."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controlplane.api.events import Refusal
from controlplane.api.views import plain
from controlplane.plane.envoys import Dispute
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

    Args:
        nodes: The nodes of the xDS server.
        now: The xDS server's monotonic clock.
        disputes: Replicas whose health an Envoy sees differently.
        refusals: Of clients that were not admitted.
        sent: Requests per second by node and pool.
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
