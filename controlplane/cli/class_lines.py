"""The classes of a pool's requests as people read them. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from controlplane.cli.printable import printable
from controlplane.cli.replica_table import percent
from controlplane.client import Pool, ServedClass

_NAMED: Final = 12
"""Replicas that are named; of a large pool the others are counted."""


def class_lines(pool: Pool) -> Iterator[str]:
    """A line for each class: which requests, how much of the work, which replicas."""
    for served in pool.parting or ():
        which = f"requests {served.match}" if served.match is not None else "all others"
        part = f", {_part(served)}," if served.part_of_work is not None else ""
        verb = "go" if served.routed else "are about to go"
        yield printable(f"class {served.name}: {which}{part} {verb} to {_ids(served.replicas)}")


def class_summary(pool: Pool) -> str:
    """All classes of a pool on one line; empty where requests are not parted."""
    return printable("; ".join(_summary(served) for served in pool.parting or ()))


def _summary(served: ServedClass) -> str:
    count = len(served.replicas)
    parts = [] if served.part_of_work is None else [_part(served)]
    parts.append(f"{count} replica{'' if count == 1 else 's'}")
    if not served.routed:
        parts.append("not routed yet")
    return f"{served.name}: {', '.join(parts)}"


def _part(served: ServedClass) -> str:
    return f"{percent(served.part_of_work)} of the work"


def _ids(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids) if more <= 0 else f"{', '.join(ids[:_NAMED])} and {more} more"
