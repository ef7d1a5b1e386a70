"""``plimsoll top`` as people see it: what was seen in, rich tables out. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from controlplane.cli.class_lines import class_summary
from controlplane.cli.node_table import lasted
from controlplane.cli.pool_table import health
from controlplane.cli.printable import printable
from controlplane.cli.replica_table import percent, shown, state
from controlplane.cli.tables import UNKNOWN, Column, layout, table
from controlplane.cli.top_sight import Row, Shown

_BAR: Final = 10

_COLUMNS: Final = (
    Column("replica"),
    Column("state"),
    Column("tier", rank=4),
    Column("weight", rank=5, is_number=True),
    Column("share", is_number=True),
    Column("bar", rank=9, has_head=False),
    Column("classes", rank=7),
    Column("capacity", rank=6, is_number=True),
    Column("tokens", rank=8, is_number=True),
    Column("rate", rank=1, is_number=True),
    Column("p99", rank=1, is_number=True),
    Column("in flight", rank=2, is_number=True),
    Column("memory", rank=3, is_number=True),
    Column("why", prose=16),
)


def tables(sight: Sequence[Shown], width: int | None = None) -> RenderableType:
    """Make a table for each pool, all with the same columns.

    Args:
        sight: What was seen.
        width: Of the terminal; None: there is no limit.
    """
    if not sight:
        return Text("no pools")
    cells = [[_cells(row) for row in seen.rows] for seen in sight]
    laid_out = layout(_COLUMNS, [row for rows in cells for row in rows], width)
    parts: list[RenderableType] = []
    for seen, rows in zip(sight, cells, strict=True):
        parts.append(Text(printable(_headline(seen)), "bold", no_wrap=True, overflow="ellipsis"))
        if classes := class_summary(seen.pool):
            parts.append(Text(classes, no_wrap=True, overflow="ellipsis"))
        if rows:
            parts.append(table(laid_out, rows, [_style(row) for row in seen.rows]))
        if (more := seen.found - len(rows)) > 0:
            parts.append(Text(f"… and {more} more", "dim"))
        parts.append(Text())
    if laid_out.note:
        parts.append(Text(laid_out.note, "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)
    return Group(*parts[:-1])


def _headline(seen: Shown) -> str:
    pool, readings = seen.pool, [row.replica.readings for row in seen.rows]
    policy = pool.policy_in_force or pool.balancing.policy
    parts = [f"{pool.name}: {policy}", health(pool)]
    if len(seen.rows) == pool.counts.total:
        rates = [known.rate_rps for known in readings if known and known.rate_rps is not None]
        if rates:
            parts.append(f"{shown(sum(rates))} req/s")
    slowest = [known.p99_ms for known in readings if known and known.p99_ms is not None]
    if slowest:
        wanted = f" of {pool.objective.p99} wanted" if pool.objective else ""
        parts.append(f"p99 up to {shown(max(slowest), ' ms')}{wanted}")
    return ", ".join(parts)


def _style(row: Row) -> str:
    replica = row.replica
    if replica.state in ("unhealthy", "gone") or replica.drained:
        return "red"
    return "yellow" if replica.state != "ready" or replica.draining or replica.stale else ""


def _cells(row: Row) -> dict[str, str]:
    replica, readings = row.replica, row.replica.readings
    return {
        "replica": printable(replica.id),
        "state": printable(state(replica)),
        "tier": printable(replica.tier or UNKNOWN),
        "weight": shown(replica.weight),
        "share": percent(replica.share),
        "bar": "█" * round((replica.share or 0.0) * _BAR),
        "classes": ", ".join(replica.classes) or UNKNOWN,
        "capacity": shown(replica.capacity, "/s"),
        "tokens": shown(replica.capacity_tokens, "/s"),
        "rate": shown(readings.rate_rps if readings else None, "/s"),
        "p99": shown(readings.p99_ms if readings else None, " ms"),
        "in flight": shown(row.in_flight),
        "memory": UNKNOWN if row.memory is None else f"{row.memory * 100:.0f} %",
        "why": printable(" ".join(_why(row))),
    }


def _why(row: Row) -> Iterator[str]:
    if (why := row.why) is None:
        yield UNKNOWN
        return
    if why == row.moved:
        yield f"{lasted(row.moved_ago)} ago:"
    yield why
