"""Connected Envoys of the API's answer as people read them: a line for each type of each Envoy."""

from collections.abc import Iterator, Sequence
from typing import Final

from controlplane.cli.printable import printable
from controlplane.cli.tables import UNKNOWN, Column, console, print_table
from controlplane.client import Node, NodeType, RefusedNode

_COLUMNS: Final = (
    Column("node"),
    Column("version", rank=3),
    Column("locality", rank=2),
    Column("up", rank=1),
    Column("type"),
    Column("state"),
    Column("held"),
    Column("sent", rank=4),
    Column("acked", rank=5),
)

_SHORT: Final = {
    "Cluster": "cds",
    "ClusterLoadAssignment": "eds",
    "Listener": "lds",
    "RouteConfiguration": "rds",
    "Secret": "sds",
}


def print_nodes(nodes: Sequence[Node]) -> None:
    """Print the table, and below it what was rejected, and whose health is seen otherwise."""
    print_table(_COLUMNS, [cells for node in nodes for cells in _rows(node)])
    for node in nodes:
        for sentence in (*_rejections(node), *_disagreements(node)):
            # Envoy's words may be long; the terminal wraps them, and a pipe gets them whole.
            console().print(printable(sentence), soft_wrap=True)


def print_refused(refused: Sequence[RefusedNode]) -> None:
    """Print who was not admitted, and why."""
    for it in refused:
        sentence = f"{it.id}: refused {lasted(it.age_s)} ago, from {it.peer}: {it.reason}"
        console().print(printable(sentence), soft_wrap=True)


def lasted(seconds: float | None) -> str:
    """A time in one unit, whole from 10 on; a dash when it is not known."""
    if seconds is None:
        return UNKNOWN
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return _number(seconds / length, unit)
    return _number(max(seconds, 0.0), "s")


def _number(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def _rows(node: Node) -> Iterator[dict[str, str]]:
    program, where = node.user_agent, node.locality
    name = "" if program == "envoy" else f"{program} "
    place = "/".join(part for part in (where.region, where.zone, where.sub_zone) if part)
    row = {
        # A narrow terminal has no room for the version.
        "node": f"{node.id} (gRPC)" if program.startswith("gRPC") else node.id,
        "version": f"{name}{node.version}".strip() or UNKNOWN,
        "locality": place or UNKNOWN,
        "up": lasted(node.connected_s),
    }
    if not node.types:
        yield row | dict.fromkeys(("type", "held", "sent", "acked"), UNKNOWN) | {"state": "idle"}
    for status in node.types:
        yield row | {
            "type": _short(status),
            "state": _state(status),
            "held": _held(status),
            "sent": lasted(status.sent_age_s),
            "acked": lasted(status.acknowledged_age_s),
        }
        row = dict.fromkeys(row, "")


def _short(status: NodeType) -> str:
    kind = status.type_url.rpartition(".")[2]
    return _SHORT.get(kind, kind)


def _state(status: NodeType) -> str:
    if status.in_sync:
        return "in sync"
    if status.refused:
        return "rejected"
    rejection, sent = status.last_rejection, status.sent_age_s
    # Once something was sent after a rejection, the answer to that is what is missing.
    is_newest = rejection is not None and (sent is None or rejection.age_s <= sent)
    return "rejected" if is_newest else "waiting"


def _held(status: NodeType) -> str:
    """How many resources it holds, of how many that it asked for by name."""
    if status.wildcard:
        return f"{status.held}/all"
    asked = status.subscribed
    return str(status.held) if asked is None else f"{status.held}/{asked}"


def _rejections(node: Node) -> Iterator[str]:
    for status in node.types:
        if (rejection := status.last_rejection) is not None:
            names = ", ".join(rejection.names) or "nothing by name"
            yield (
                f"{node.id}: rejected {_short(status)} {names},"
                f" {lasted(rejection.age_s)} ago: {rejection.message}"
            )


def _disagreements(node: Node) -> Iterator[str]:
    for dispute in node.disagrees:
        other = "unhealthy" if dispute.sees == "healthy" else "ready"
        yield (
            f"{node.id}: has seen {dispute.pool}/{dispute.replica} {dispute.sees} for"
            f" {lasted(dispute.for_s)}; the control plane sees it {other}"
        )
