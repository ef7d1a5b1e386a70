"""Where a request went and why, in sentences: from it, its pool and the replica's last hour."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controlplane.cli.answered import Answered
from controlplane.cli.replica_table import percent, shown
from controlplane.client import Client, History, HistoryEntry, NotFoundError, Pool, ServedClass

_SLACK: Final = 1.0
"""Seconds by which the clocks of an Envoy and the control plane may differ."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the control plane knows of a request.

    Attributes:
        pool: That it was for.
        replica: Id of the replica; None where none is known.
        history: Of the replica; None where there is no such replica any more.
    """

    pool: Pool
    replica: str | None
    history: History | None


async def context(client: Client, request: Answered, name: str) -> Context:
    """Ask for what is known of a request for the pool of this name."""
    pool = await client.pool(name)
    at = request.upstream
    named = request.replica
    if named is None and at is not None:
        async for replica in client.each_replica(name):
            if at in (replica.address, replica.ingress):
                named = replica.id
                break
    if named is None:
        return Context(pool, None, None)
    try:
        return Context(pool, named, await client.history(name, named))
    except NotFoundError:
        return Context(pool, named, None)


def in_force(request: Answered, history: History | None) -> HistoryEntry | None:
    """The entry by which the replica got requests when this one came; None: it is not kept."""
    entries = history.entries if history is not None else ()
    if request.at is None:
        return entries[-1] if entries else None
    then = request.at.timestamp() + _SLACK
    before = [it for it in entries if datetime.fromisoformat(it.at).timestamp() <= then]
    return before[-1] if before else None


def request_lines(request: Answered, known: Context) -> Iterator[str]:
    """The lines, the most important first."""
    yield _headline(request, known)
    yield from (f"  {line}" for line in _of_class(request, known.pool))
    yield from (f"  {line}" for line in _of_replica(request, known))
    yield from (f"  {line}" for line in request.failures())


def _headline(request: Answered, known: Context) -> str:
    status = "no answer" if not request.status else f"{request.status}"
    parts = [f"{known.pool.name}: {status}"]
    if known.replica is not None:
        at = f" at {request.upstream}" if request.upstream else ""
        parts.append(f"from replica {known.replica}{at}")
    if request.duration_ms is not None:
        parts.append(f"after {shown(request.duration_ms, ' ms')}")
    if request.at is not None:
        local = request.at.astimezone()
        parts.append(f"at {local:%H:%M:%S} {local.tzname()}")
    return ", ".join(parts)


def _of_class(request: Answered, pool: Pool) -> Iterator[str]:
    served = _class(request, pool)
    if served is None and not request.class_name:
        if pool.parting is None:
            yield "Requests of the pool are not parted into classes."
        return
    if served is None:
        yield f"Class {request.class_name}; the pool has no such class any more."
        return
    which = f"requests {served.match}" if served.match else "all requests of no other class"
    size = ""
    if served.match and request.bytes_received is not None:
        size = f"; this one has {request.bytes_received} bytes"
    yield f"Class {served.name}: {which}{size}."


def _class(request: Answered, pool: Pool) -> ServedClass | None:
    name = request.class_name
    for served in pool.parting or ():
        if served.name == name or (not name and served.match is None):
            return served
    return None


def _of_replica(request: Answered, known: Context) -> Iterator[str]:
    if known.replica is None:
        if request.upstream is not None:
            yield f"No replica of the pool has the address {request.upstream} any more."
        return
    if known.history is None:
        yield f"The pool has no replica {known.replica} any more."
        return
    entry = in_force(request, known.history)
    if entry is None:
        yield (
            f"What {known.replica} got then is not known any more: the record of the last hour,"
            " which begins anew with the control plane, has nothing so old."
        )
        return
    share = "an unknown share" if entry.share is None else percent(entry.share)
    tier = entry.tier or "no tier"
    since = datetime.fromisoformat(entry.at).astimezone()
    yield (
        f"Weights then, since {since:%H:%M:%S}: {known.replica} got {share} of the traffic with"
        f" weight {entry.weight} in {tier}, with a capacity of {shown(entry.capacity, ' req/s')};"
        f" {entry.serving} replica{'' if entry.serving == 1 else 's'} served."
    )
    served = _class(request, known.pool)
    if entry.classes and served is not None:
        if served.name in entry.classes:
            yield f"It served class {served.name} first."
        else:
            yield (
                f"It served class {', '.join(entry.classes)} first: requests of class"
                f" {served.name} come to it only where replicas of that class are not healthy, or"
                " have failed this request."
            )
    yield from entry.why
