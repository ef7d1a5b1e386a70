"""``plimsoll top`` as people see it: what was seen in, rich tables out. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controlplane.cli.class_lines import class_summary
from controlplane.cli.node_table import lasted
from controlplane.cli.pool_table import health
from controlplane.cli.printable import printable
from controlplane.cli.replica_table import percent, shown, state
from controlplane.cli.top_sight import Row, Shown

_BAR: Final = 10

_WORDS: Final = ("replica", "state", "tier", "classes", "bar", "why")
"""Columns to the left; the others are numbers."""

_COLUMNS: Final[Mapping[str, int]] = {
    "replica": 0,
    "state": 0,
    "tier": 0,
    "weight": 0,
    "share": 0,
    "bar": 150,
    "classes": 130,
    "capacity": 110,
    "tokens": 140,
    "rate": 0,
    "p99": 0,
    "in flight": 0,
    "memory": 0,
    "why": 0,
}
"""And from how many columns of a terminal on there is room for them."""


def tables(sight: Sequence[Shown], width: int | None = None) -> RenderableType:
    """A table for each pool, all with the same columns.

    Args:
        sight: What was seen.
        width: Of the terminal, at whose end reasons are cut; None: there is none.
    """
    if not sight:
        return Text("no pools")
    names = [it for it, least in _COLUMNS.items() if width is None or width >= least]
    cells = [[_cells(row) for row in it.rows] for it in sight]
    widths = {
        name: max(
            [
                0 if name == "bar" else len(name),
                *(cell_len(row[name]) for rows in cells for row in rows),
            ]
        )
        for name in names
    }
    parts: list[RenderableType] = []
    for it, rows in zip(sight, cells, strict=True):
        parts.append(Text(printable(_headline(it)), "bold", no_wrap=True, overflow="ellipsis"))
        if classes := class_summary(it.pool):
            parts.append(Text(classes, no_wrap=True, overflow="ellipsis"))
        if rows:
            parts.append(_table(names, widths, it.rows, rows, is_cut=width is not None))
        if (more := it.pool.counts.total - len(rows)) > 0:
            parts.append(Text(f"… and {more} more", "dim"))
        parts.append(Text())
    return Group(*parts[:-1])


def _table(
    names: Sequence[str],
    widths: Mapping[str, int],
    rows: Sequence[Row],
    cells: Sequence[Mapping[str, str]],
    *,
    is_cut: bool,
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", expand=is_cut)
    for name in names:
        is_why = name == "why"
        table.add_column(
            "" if name == "bar" else name,
            justify="left" if name in _WORDS else "right",
            no_wrap=True,
            # What a file gets is whole.
            min_width=None if is_why and is_cut else widths[name],
            ratio=1 if is_why and is_cut else None,
        )
    for row, texts in zip(rows, cells, strict=True):
        table.add_row(*(Text(texts[name]) for name in names), style=_style(row))
    return table


def _headline(it: Shown) -> str:
    pool, readings = it.pool, [row.replica.readings for row in it.rows]
    policy = pool.policy_in_force or pool.balancing.policy
    parts = [f"{pool.name}: {policy}", health(pool)]
    if len(it.rows) == pool.counts.total:
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
    if replica.state == "gone" or replica.drained:
        return "red"
    return "yellow" if replica.state != "ready" or replica.draining or replica.stale else ""


def _cells(row: Row) -> dict[str, str]:
    replica, readings = row.replica, row.replica.readings
    return {
        "replica": printable(replica.id),
        "state": printable(state(replica)),
        "tier": printable(replica.tier or "-"),
        "weight": shown(replica.weight),
        "share": percent(replica.share),
        "bar": "█" * round((replica.share or 0.0) * _BAR),
        "classes": ", ".join(replica.classes) or "-",
        "capacity": shown(replica.capacity, "/s"),
        "tokens": shown(replica.capacity_tokens, "/s"),
        "rate": shown(readings.rate_rps if readings else None, "/s"),
        "p99": shown(readings.p99_ms if readings else None, " ms"),
        "in flight": shown(row.in_flight),
        "memory": "-" if row.memory is None else f"{row.memory * 100:.0f} %",
        "why": printable(" ".join(_why(row))),
    }


def _why(row: Row) -> Iterator[str]:
    if (why := row.why) is None:
        yield "-"
        return
    if why == row.moved:
        yield f"{lasted(row.moved_ago)} ago:"
    yield why
