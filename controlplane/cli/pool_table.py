"""Pools of the API's answers as people read them: a table, and everything about one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from controlplane.cli.class_lines import class_lines
from controlplane.cli.printable import printable
from controlplane.client import Pool

_WIDE: Final = 200
"""Columns where there is no terminal: a table in a file or a pipe is not to be wrapped."""

_TEXTS: Final = 5
"""Columns of words, to the left; what follows are numbers."""

_COLUMNS: Final = (
    "pool",
    "model",
    "listener",
    "policy",
    "p99 wanted",
    "replicas",
    "ready",
    "notes",
)


def print_pools(pools: Sequence[Pool]) -> None:
    """Print one line for each pool."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(_COLUMNS):
        is_number = _TEXTS <= position < len(_COLUMNS) - 1
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    for pool in pools:
        table.add_row(*map(printable, _cells(pool)))
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = _WIDE
    console.print(table)


def described(pool: Pool) -> Iterator[str]:
    """Everything about one pool, line by line."""
    yield printable(f"{pool.name}: {health(pool)}, declared by {pool.source}")
    for key, value in pool.settings.items():
        yield printable(f"  {key}: {_short(value)}  ({pool.sources[key]})")
    if pool.policy_in_force not in (None, pool.balancing.policy):
        yield printable(f"  policy {pool.policy_in_force} is still in force")
    yield from (f"  {line}" for line in class_lines(pool))
    for source in pool.discovery.sources:
        found = "not answered yet" if source.replicas is None else f"{source.replicas} replicas"
        failing = f"; fails: {source.problem}" if source.failing else ""
        yield printable(f"  found by {source.name}: {found}{failing}")
    if pool.discovery.withheld:
        ids = ", ".join(pool.discovery.withheld)
        yield printable(f"  no source has them any more, too few would be left: {ids}")
    yield from (printable(f"  not used: {clash}") for clash in pool.discovery.clashes)


def health(pool: Pool) -> str:
    """How many replicas are ready, and what is odd about the others."""
    counts = pool.counts
    return ", ".join([f"{counts.ready} of {counts.total} ready", *_notes(pool)])


def _notes(pool: Pool) -> Iterator[str]:
    counts = pool.counts
    for name in ("starting", "gone", "draining", "cut", "stale"):
        if count := getattr(counts, name):
            yield f"{count} {name}"
    if pool.suspect:
        yield "most are silent: weights stand still"
    if any(source.failing for source in pool.discovery.sources):
        yield "a source fails"


def _cells(pool: Pool) -> tuple[str, ...]:
    return (
        pool.name,
        pool.model,
        pool.listener.address,
        pool.balancing.policy,
        pool.objective.p99 if pool.objective else "-",
        str(pool.counts.total),
        str(pool.counts.ready),
        ", ".join(_notes(pool)) or "-",
    )


def _short(value: Any) -> str:
    """A setting on one line, without what nobody has said."""
    if isinstance(value, Mapping):
        said = (f"{key} {_short(it)}" for key, it in value.items() if it not in (None, {}, []))
        return ", ".join(said) or "-"
    return "-" if value is None else str(value)
