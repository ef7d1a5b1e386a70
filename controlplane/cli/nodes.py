"""`plimsoll nodes`: each connected Envoy, and what it was sent, acknowledged and rejected."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click

from controlplane.cli.admin import Api, api_options
from controlplane.cli.tables import UNKNOWN, Column, console, print_table
from controlplane.cli.terminal import json_option, print_json, printable
from controlplane.cli.text import lasted
from controlplane.client import Client, Node, NodeType, RefusedNode

_COLUMNS: Final = (
    Column("node", is_name=True),
    Column("version", rank=3),
    Column("locality", rank=2),
    Column("up", rank=1),
    Column("type"),
    Column("state"),
    Column("held"),
    Column("sent", rank=4),
    Column("acked", rank=5),
)

_TYPES: Final = {
    "Cluster": "cds",
    "ClusterLoadAssignment": "eds",
    "Listener": "lds",
    "RouteConfiguration": "rds",
    "Secret": "sds",
}


@click.command
@api_options
@json_option
def command(api: Api, as_json: bool) -> None:
    """List the connected Envoys: in sync or not, what each rejected last, and who was refused."""
    found = api.ask(Client.node_list)
    if as_json:
        print_json(found.document())
        return
    if found.nodes:
        print_nodes(found.nodes)
    else:
        click.echo("no Envoy is connected")
    _print_sentences(map(_refusal, found.refused))


def print_nodes(nodes: Sequence[Node]) -> None:
    """Print a line for each type of each Envoy, then rejections and disagreements on health."""
    print_table(_COLUMNS, [cells for node in nodes for cells in _rows(node)])
    for node in nodes:
        _print_sentences((*_rejections(node), *_disagreements(node)))


def _print_sentences(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        # Envoy's words may be long; the terminal wraps them, and a pipe gets them whole.
        console().print(printable(sentence), soft_wrap=True)


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
            "type": _type(status),
            "state": _state(status),
            "held": _held(status),
            "sent": lasted(status.sent_age_s),
            "acked": lasted(status.acknowledged_age_s),
        }
        row = dict.fromkeys(row, "")


def _type(status: NodeType) -> str:
    kind = status.type_url.rpartition(".")[2]
    return _TYPES.get(kind, kind)


def _state(status: NodeType) -> str:
    if status.in_sync:
        return "in sync"
    if status.refused:
        return "rejected"
    rejection, sent = status.last_rejection, status.sent_age_s
    # Once something was sent after a rejection, the Envoy has yet to answer that.
    is_newest = rejection is not None and (sent is None or rejection.age_s <= sent)
    return "rejected" if is_newest else "waiting"


def _held(status: NodeType) -> str:
    """How many resources the Envoy holds, of how many that it asked for by name."""
    if status.wildcard:
        return f"{status.held}/all"
    asked = status.subscribed
    return str(status.held) if asked is None else f"{status.held}/{asked}"


def _refusal(refused: RefusedNode) -> str:
    age = lasted(refused.age_s)
    return f"{refused.id}: refused {age} ago, from {refused.peer}: {refused.reason}"


def _rejections(node: Node) -> Iterator[str]:
    for status in node.types:
        if (rejection := status.last_rejection) is not None:
            names = ", ".join(rejection.names) or "nothing by name"
            yield (
                f"{node.id}: rejected {_type(status)} {names},"
                f" {lasted(rejection.age_s)} ago: {rejection.message}"
            )


def _disagreements(node: Node) -> Iterator[str]:
    for dispute in node.disagrees:
        other = "unhealthy" if dispute.sees == "healthy" else "ready"
        yield (
            f"{node.id}: has seen {dispute.pool}/{dispute.replica} {dispute.sees} for"
            f" {lasted(dispute.for_s)}; the control plane sees it {other}"
        )
