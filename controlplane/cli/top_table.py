"""`plimsoll top` as rich tables. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from controlplane.cli.tables import UNKNOWN, Column, layout, rows_of, table
from controlplane.cli.terminal import printable
from controlplane.cli.text import class_summary, health, lasted, percent, shown, state
from controlplane.cli.top_state import PoolRows, Row

_BAR: Final = 10

_COLUMNS: Final = (
    Column("replica", cell=lambda row: row.replica.id),
    Column("state", cell=lambda row: state(row.replica)),
    Column("tier", 4, cell=lambda row: row.replica.tier or UNKNOWN),
    Column("weight", 5, is_number=True, cell=lambda row: shown(row.replica.weight)),
    Column("share", is_number=True, cell=lambda row: percent(row.replica.share)),
    Column("bar", 9, has_head=False, cell=lambda row: "█" * round((row.replica.share or 0) * _BAR)),
    Column("classes", 7, cell=lambda row: ", ".join(row.replica.classes) or UNKNOWN),
    Column("capacity", 6, is_number=True, cell=lambda row: shown(row.replica.capacity, "/s")),
    Column("tokens", 8, is_number=True, cell=lambda row: shown(row.replica.capacity_tokens, "/s")),
    Column("rate", 1, is_number=True, cell=lambda row: shown(row.rate_rps, "/s")),
    Column("p99", 1, is_number=True, cell=lambda row: shown(row.p99_ms, " ms")),
    Column("in flight", 2, is_number=True, cell=lambda row: shown(row.in_flight)),
    Column("memory", 3, is_number=True, cell=lambda row: _memory(row.memory)),
    Column("why", prose=16, cell=lambda row: " ".join(_why(row))),
)


def tables(pools: Sequence[PoolRows], width: int | None = None) -> RenderableType:
    """Make a table for each pool, all with the same columns; without a width there is no limit."""
    if not pools:
        return Text("no pools")
    cells = [rows_of(_COLUMNS, each.rows) for each in pools]
    laid_out = layout(_COLUMNS, [row for rows in cells for row in rows], width)
    parts: list[RenderableType] = []
    for each, rows in zip(pools, cells, strict=True):
        parts.append(Text(printable(_headline(each)), "bold", no_wrap=True, overflow="ellipsis"))
        if classes := class_summary(each.pool):
            parts.append(Text(classes, no_wrap=True, overflow="ellipsis"))
        if rows:
            parts.append(table(laid_out, rows, [_style(row) for row in each.rows]))
        if (more := each.found - len(rows)) > 0:
            parts.append(Text(f"… and {more} more", "dim"))
        parts.append(Text())
    if laid_out.note:
        parts.append(Text(laid_out.note, "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)
    return Group(*parts[:-1])


def _headline(each: PoolRows) -> str:
    pool = each.pool
    policy = pool.policy_in_force or pool.balancing.policy
    parts = [f"{pool.name}: {policy}", health(pool)]
    if len(each.rows) == pool.counts.total:
        rates = [row.rate_rps for row in each.rows if row.rate_rps is not None]
        if rates:
            parts.append(f"{shown(sum(rates))} req/s")
    slowest = [row.p99_ms for row in each.rows if row.p99_ms is not None]
    if slowest:
        wanted = f" of {pool.objective.p99} wanted" if pool.objective else ""
        parts.append(f"p99 up to {shown(max(slowest), ' ms')}{wanted}")
    return ", ".join(parts)


def _style(row: Row) -> str:
    replica = row.replica
    if replica.state in ("unhealthy", "gone") or replica.drained:
        return "red"
    return "yellow" if replica.state != "ready" or replica.draining or replica.stale else ""


def _memory(part: float | None) -> str:
    return UNKNOWN if part is None else f"{part * 100:.0f} %"


def _why(row: Row) -> Iterator[str]:
    if (why := row.why) is None:
        yield UNKNOWN
        return
    if why == row.moved:
        yield f"{lasted(row.moved_ago)} ago:"
    yield why
