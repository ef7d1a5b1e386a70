"""What the API says of the connected Envoys, as plain data."""

from collections.abc import Sequence
from typing import Any

from controlplane.edges.rest.views import plain
from controlplane.edges.turns import Turns
from controlplane.xds.nodes import NodeStatus, TypeStatus


async def nodes_view(nodes: Sequence[NodeStatus], now: float) -> dict[str, Any]:
    """Every stream of every node.

    Args:
        nodes: As the xDS server knows them.
        now: Seconds of the clock that the xDS server is given.
    """
    turns, views = Turns(), []
    for node in nodes:
        views.append(_node(node, now))
        await turns.give_way()
    return {"nodes": views}


def _node(node: NodeStatus, now: float) -> dict[str, Any]:
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
        "in_sync": all(_in_sync(status) for status in node.types),
        "types": [_type(status, now) for status in node.types],
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
        "in_sync": _in_sync(status),
        "held": status.held,
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


def _in_sync(status: TypeStatus) -> bool:
    return status.sent == status.acknowledged
