"""`plimsoll explain`: why each replica of a pool gets what it gets, now and in the last hour.

With `--request`: where one request went, and why.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final

import click

from controlplane.cli.admin import Api, api_options, pool_names, replica_ids
from controlplane.cli.explain_request import Context, Request, context, in_force, request_lines
from controlplane.cli.terminal import USAGE, fail, json_option, parsed, print_answer, printable
from controlplane.cli.text import class_lines, headline, percent, readings, shown
from controlplane.client import Client, ClientError, History, HistoryEntry, Pool, Replica
from controlplane.config import parse_duration

_EVERYTHING: Final = "1h"

_MAX_INPUT: Final = 1 << 20
"""Characters that are read; an answer's body is of no interest."""

_INDENT: Final = " " * 10


@click.command
@click.argument("pool", required=False, shell_complete=pool_names)
@click.option("--replica", metavar="ID", help="Only this replica.", shell_complete=replica_ids)
@click.option("--history", is_flag=True, help="What changed in the last hour, and why.")
@click.option(
    "--since", metavar="DURATION", help=f"Length of the history.  [default: {_EVERYTHING}]"
)
@click.option(
    "--request",
    "is_request",
    is_flag=True,
    help="Explain one request: pipe in what `curl -i` prints, or a line of the access log.",
)
@click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="HEADER",
    help="Header of the answer, as in 'x-plimsoll: …', instead of a pipe; goes with --request.",
)
@api_options
@json_option
def command(
    pool: str | None,
    replica: str | None,
    history: bool,
    since: str | None,
    is_request: bool,
    headers: tuple[str, ...],
    api: Api,
    as_json: bool,
) -> None:
    """Explain why each replica of POOL gets its share, or where one request went and why."""
    if is_request:
        if replica or history or since:
            fail("--request excludes --replica, --history and --since", USAGE)
        _explain_request(_read(headers), pool, api, as_json)
        return
    if headers:
        fail("--header goes with --request", USAGE)
    if pool is None:
        fail("POOL is missing; only --request finds it in what it reads", USAGE)
    if since is not None and not history:
        fail("--since: goes with --history", USAGE)
    document: dict[str, Any]
    lines: Iterator[str]
    if history:
        parsed("--since", parse_duration, since or _EVERYTHING)
        histories = api.ask(lambda client: _histories(client, pool, replica, since or _EVERYTHING))
        document = {"histories": [each.document() for each in histories]}
        lines = (line for each in histories for line in timeline(each))
    else:
        found, replicas = api.ask(lambda client: _now(client, pool, replica))
        document = {
            "replicas": [each.document() for each in replicas],
            "parting": found.document().get("parting"),
            "parting_reasons": list(found.parting_reasons),
            "zones": found.document().get("zones"),
            "zone_reasons": list(found.zone_reasons),
        }
        lines = _explained(found, replicas)
    if not (document.get("replicas") or document.get("histories")):
        lines = chain(lines, [f"{pool}: no replicas"])
    print_answer(as_json, document, lines)


async def _now(client: Client, pool: str, replica: str | None) -> tuple[Pool, list[Replica]]:
    return await client.pool(pool), await _replicas(client, pool, replica)


async def _replicas(client: Client, pool: str, replica: str | None) -> list[Replica]:
    if replica is not None:
        return [await client.replica(pool, replica)]
    return [each async for each in client.each_replica(pool)]


async def _histories(client: Client, pool: str, replica: str | None, since: str) -> list[History]:
    ids = [replica] if replica else [each.id for each in await _replicas(client, pool, None)]
    return [await client.history(pool, id_, since=since) for id_ in ids]


def _explained(pool: Pool, replicas: Sequence[Replica]) -> Iterator[str]:
    if replicas and (policy := replicas[0].policy_in_force):
        verb = "knows" if replicas[0].shares_told_to_envoy else "does not know"
        yield printable(f"{pool.name}: policy {policy}; Envoy {verb} what each replica can carry")
    yield from (f"  {printable(sentence)}" for sentence in pool.parting_reasons)
    yield from (f"  {line}" for line in class_lines(pool))
    yield from (f"  {printable(sentence)}" for sentence in pool.zone_reasons)
    for replica in replicas:
        yield headline(replica)
        yield f"  {readings(replica)}"
        yield from (f"  {printable(sentence)}" for sentence in replica.why)


def timeline(history: History) -> Iterator[str]:
    """A replica's last hour: when its share changed, why, and what it reported."""
    name = printable(f"{history.pool}/{history.id}")
    if not history.entries:
        yield f"{name}: nothing is kept of that time"
        return
    yield f"{name}: times in {_local(history.now).tzname()}, now {_clock(history.now)}"
    for entry in history.entries:
        if count := entry.left_out:
            yield f"{_INDENT}({count} more like these {'was' if count == 1 else 'were'} not kept)"
        first, *more = entry.changes or ["as before"]
        yield f"{_clock(entry.at)}  {printable(first)}"
        for sentence in more:
            yield f"{_INDENT}{printable(sentence)}"
        yield f"{_INDENT}{_weight(entry)}; {readings(entry)}"


def _weight(entry: HistoryEntry) -> str:
    share = entry.share
    parts = [
        "share not known" if share is None else f"{percent(share)} of the traffic",
        f"weight {shown(entry.weight)}",
        printable(entry.tier or "no tier"),
        f"capacity {shown(entry.capacity, ' req/s')}",
    ]
    return ", ".join(parts)


def _clock(text: str) -> str:
    return f"{_local(text):%H:%M:%S}"


def _local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone()


def _read(headers: tuple[str, ...]) -> Request:
    if not headers and sys.stdin.isatty():
        fail("--request reads an answer or a line of the access log from a pipe; or give -H", USAGE)
    text = "\n".join(headers) if headers else sys.stdin.read(_MAX_INPUT)
    return parsed("--request", Request.read, text)


def _explain_request(request: Request, pool: str | None, api: Api, as_json: bool) -> None:
    if (name := pool or request.pool) is None:
        # The gateway has no such pool, or no route takes the request.
        for line in request.failures():
            click.echo(printable(line))
        fail("--request: Envoy had chosen no pool yet", USAGE)

    async def asked(client: Client) -> Context:
        try:
            return await context(client, request, name)
        except ClientError:
            # The request itself tells something all the same.
            for line in () if as_json else request.failures():
                click.echo(printable(line))
            raise

    known = api.ask(asked)
    lines = [printable(line) for line in request_lines(request, known)]
    then = in_force(request, known.history)
    document = {
        "pool": name,
        "class": request.class_name or None,
        "replica": known.replica,
        "status": request.status,
        "attempts": request.attempts,
        "flags": list(request.flags),
        "in_force": then.document() if then is not None else None,
        "sentences": [line.strip() for line in lines],
    }
    print_answer(as_json, document, lines)
