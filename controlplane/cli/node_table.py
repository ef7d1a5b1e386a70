"""Connected Envoys of the API's answer as people read them: a line for each type of each Envoy."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from controlplane.cli.printable import printable
from controlplane.client import Node, NodeType

_WIDE: Final = 100
"""Columns where there is no terminal."""

_WORDS: Final = ("node", "version", "locality")
"""Columns that a narrow terminal may fold; of the others every word and number stays whole."""

_COLUMNS: Final = (*_WORDS, "up", "type", "state", "held", "sent", "acked")

_SHORT: Final = {
    "Cluster": "cds",
    "ClusterLoadAssignment": "eds",
    "Listener": "lds",
    "RouteConfiguration": "rds",
    "Secret": "sds",
}


def print_nodes(nodes: Sequence[Node]) -> None:
    """Print the table, and below it what was rejected, and whose health is seen otherwise."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        folds = name in _WORDS
        table.add_column(name, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for node in nodes:
        for cells in _rows(node):
            table.add_row(*map(printable, cells))
    # Nothing in a cell is markup: a node may call itself anything.
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(table)
    for sentence in (it for node in nodes for it in (*_rejections(node), *_disagreements(node))):
        # Envoy's words may be long; the terminal wraps them, and a pipe gets them whole.
        console.print(printable(sentence), soft_wrap=True)


def lasted(seconds: float | None) -> str:
    """A time in one unit, whole from 10 on; a dash when it is not known."""
    if seconds is None:
        return "-"
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return _number(seconds / length, unit)
    return _number(max(seconds, 0.0), "s")


def _number(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def _rows(node: Node) -> Iterator[tuple[str, ...]]:
    program, where = node.user_agent, node.locality
    name = "" if program == "envoy" else f"{program} "
    place = "/".join(part for part in (where.region, where.zone, where.sub_zone) if part)
    first: tuple[str, ...] = (
        node.id,
        f"{name}{node.version}".strip() or "-",
        place or "-",
        lasted(node.connected_s),
    )
    if not node.types:
        yield (*first, "-", "idle", "-", "-", "-")
    for status in node.types:
        yield (
            *first,
            _short(status),
            _state(status),
            _held(status),
            lasted(status.sent_age_s),
            lasted(status.acknowledged_age_s),
        )
        first = ("",) * len(first)


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
    for it in node.disagrees:
        other = "gone" if it.sees == "healthy" else "ready"
        yield (
            f"{node.id}: sees {it.pool}/{it.replica} {it.sees} for {lasted(it.for_s)}, which is"
            f" {other} to the control plane"
        )
