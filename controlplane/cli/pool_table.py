"""Pools of the API's answers as people read them: a table, and everything about one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.cli.class_lines import class_lines
from controlplane.cli.printable import printable
from controlplane.cli.tables import UNKNOWN, Column, print_table
from controlplane.client import Pool

_COLUMNS: Final = (
    Column("pool"),
    Column("model", rank=2),
    Column("listener", rank=1),
    Column("policy", rank=3),
    Column("p99 wanted", rank=4),
    Column("replicas", is_number=True),
    Column("ready", is_number=True),
    Column("notes", prose=16),
)

_UNSET: Final[tuple[Any, ...]] = (None, {}, [])


def print_pools(pools: Sequence[Pool]) -> None:
    """Print one line for each pool."""
    print_table(_COLUMNS, [_cells(pool) for pool in pools])


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
    for name in ("starting", "unhealthy", "gone", "draining", "cut", "stale"):
        if count := getattr(counts, name):
            yield f"{count} {name}"
    if pool.suspect:
        yield "most cannot be scraped: weights are frozen"
    if any(source.failing for source in pool.discovery.sources):
        yield "a source fails"


def _cells(pool: Pool) -> dict[str, str]:
    return {
        "pool": pool.name,
        "model": pool.model,
        "listener": pool.listener.address,
        "policy": pool.balancing.policy,
        "p99 wanted": pool.objective.p99 if pool.objective else UNKNOWN,
        "replicas": str(pool.counts.total),
        "ready": str(pool.counts.ready),
        "notes": ", ".join(_notes(pool)) or UNKNOWN,
    }


def _short(value: Any) -> str:
    """Write a setting on one line, without what is not set."""
    if isinstance(value, Mapping):
        parts = (f"{key} {_short(part)}" for key, part in value.items() if part not in _UNSET)
        return ", ".join(parts) or UNKNOWN
    if isinstance(value, bool):
        # As in a config file.
        return str(value).lower()
    return UNKNOWN if value is None else str(value)
