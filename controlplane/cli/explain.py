"""``plimsoll explain``: why each replica of a pool gets what it gets, now and in the last hour."""

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import click

from controlplane.cli.admin import ask, path, printable, url_option
from controlplane.cli.failure import USAGE, fail
from controlplane.cli.readings import readings
from controlplane.cli.replica_table import headline
from controlplane.cli.timeline import timeline
from controlplane.settings import parse_duration

_EVERYTHING: Final = "1h"


@click.command
@click.argument("pool")
@click.option("--replica", metavar="ID", help="Only this one.")
@click.option("--history", is_flag=True, help="When that changed in the last hour, and why.")
@click.option("--since", metavar="DURATION", help=f"Of the history.  [default: {_EVERYTHING}]")
@url_option
@click.option("--json", "as_json", is_flag=True, help="Print the API's answer.")
def command(
    pool: str, replica: str | None, history: bool, since: str | None, url: str, as_json: bool
) -> None:
    """Say why each replica of POOL gets what it gets."""
    if since is not None and not history:
        fail("--since: goes with --history", USAGE)
    if history:
        _say("histories", _histories(url, pool, replica, since or _EVERYTHING), pool, as_json)
    else:
        _say("replicas", _replicas(url, pool, replica), pool, as_json)


def _replicas(url: str, pool: str, replica: str | None) -> list[dict[str, Any]]:
    if replica is not None:
        return [ask(url, "GET", path("pools", pool, "replicas", replica))]
    return list(ask(url, "GET", path("pools", pool, "replicas"))["replicas"])


def _histories(url: str, pool: str, replica: str | None, since: str) -> list[dict[str, Any]]:
    try:
        parse_duration(since)
    except ValueError as error:
        fail(f"--since: {error}", USAGE)
    ids = [replica] if replica else [known["id"] for known in _replicas(url, pool, None)]
    query = f"?since={quote(since, safe='')}"
    return [ask(url, "GET", path("pools", pool, "replicas", id_, "history") + query) for id_ in ids]


def _say(key: str, answers: list[dict[str, Any]], pool: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({key: answers}, indent=2))
    elif not answers:
        click.echo(f"{pool}: no replicas")
    else:
        for answer in answers:
            for line in timeline(answer) if key == "histories" else _now(answer):
                click.echo(line)


def _now(replica: dict[str, Any]) -> Iterator[str]:
    yield headline(replica)
    yield f"  {readings(replica)}"
    for sentence in replica["why"]:
        yield f"  {printable(sentence)}"
