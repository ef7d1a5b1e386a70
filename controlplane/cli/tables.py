"""Tables that fit the terminal: columns are left out, then texts are cut, and nothing wraps."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controlplane.cli.terminal import printable

UNKNOWN: Final = "-"
"""The cell of an unknown value."""

WHOLE: Final = 100_000
"""Width of a console that writes to a file or a pipe: no line is cut or wrapped."""

_GAP: Final = 2
"""Columns of the terminal between two columns of a table."""

_SHORT: Final = 16
"""Width to which a name is shortened before a column is left out."""
_SHORTEST: Final = 8
"""Width to which a text is shortened at most."""

Row = Mapping[str, str]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        rank: Where the table is too wide, columns of the highest rank go first. 0: it never goes.
        is_number: Numbers stand to the right and are never shortened.
        is_name: Names are shortened in their middle before a column goes, other words only where no
            column is left to go.
        prose: Part of the table that a column of sentences keeps. They are cut to it, at their
            end, before a column goes; None: no sentences.
    """

    name: str
    rank: int = 0
    is_number: bool = False
    is_name: bool = False
    prose: float | None = None
    has_head: bool = True
    cell: Callable[[Any], str] = str


class Layout(NamedTuple):
    """The width of each column that is shown, and the names of the others."""

    widths: Mapping[Column, int]
    hidden: tuple[str, ...]

    @property
    def note(self) -> str | None:
        """Say what is hidden; None where nothing is."""
        if not self.hidden:
            return None
        return f"not shown: {', '.join(self.hidden)} (use a wider terminal or --json)"


def console() -> Console:
    """Return a console for texts from elsewhere: nothing in them is markup."""
    return Console(markup=False, emoji=False, highlight=False, soft_wrap=False)


def room(out: Console) -> int | None:
    """Return how wide a table may be; None: there is no limit, as in a pipe without COLUMNS."""
    return out.width if out.is_terminal or os.environ.get("COLUMNS", "").isdigit() else None


def rows_of(columns: Sequence[Column], items: Iterable[Any]) -> list[Row]:
    """Make a row for each item."""
    return [{column.name: column.cell(item) for column in columns} for item in items]


def print_table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table, and below it which columns had no room."""
    out = console()
    width = room(out)
    laid_out = layout(columns, rows, width)
    out.width = width or WHOLE
    out.print(table(laid_out, rows))
    if laid_out.note:
        out.print(laid_out.note)


def layout(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Layout:
    """Choose columns and widths that fit the terminal; None: there is no limit."""
    widths = {column: _natural(column, rows) for column in columns}
    if width is None:
        return Layout(widths, ())
    least = {column: min(widths[column], _least(column, width)) for column in columns}
    for column in _dispensable(columns, rows):
        if _total(least) <= width:
            break
        del least[column], widths[column]
    _shorten([column for column in widths if column.prose], least, widths, width)
    _shorten([column for column in widths if not column.is_number], least, widths, width)
    shortest = dict.fromkeys(widths, _SHORTEST)
    _shorten([column for column in widths if not column.is_number], shortest, widths, width)
    return Layout(widths, tuple(column.name for column in columns if column not in widths))


def table(shown: Layout, rows: Sequence[Row], styles: Sequence[str] = ()) -> Table:
    """Make the rich table, with a style for each row, or none."""
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for column, width in shown.widths.items():
        made.add_column(
            column.name if column.has_head else "",
            justify="right" if column.is_number else "left",
            min_width=width,
            max_width=width,
            no_wrap=True,
        )
    for number, row in enumerate(rows):
        cells = (Text(_cut(column, row, width)) for column, width in shown.widths.items())
        made.add_row(*cells, style=styles[number] if styles else "")
    return made


def _natural(column: Column, rows: Sequence[Row]) -> int:
    head = cell_len(column.name) if column.has_head else 0
    return max([head, *(cell_len(printable(row[column.name])) for row in rows)])


def _total(widths: Mapping[Column, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _dispensable(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[Column]:
    """Columns that may go, in that order: empty ones first, then by rank."""
    ranked = sorted(filter(lambda each: each.rank, columns), key=lambda each: -each.rank)
    empty = [each for each in ranked if all(row[each.name] == UNKNOWN for row in rows)]
    yield from empty
    yield from (each for each in ranked if each not in empty)


def _least(column: Column, width: int) -> int:
    if column.prose:
        return max(round(column.prose * width), _SHORT)
    return _SHORT if column.is_name else WHOLE


def _shorten(
    columns: Sequence[Column], least: Mapping[Column, int], widths: dict[Column, int], width: int
) -> None:
    """Take the surplus from the widest columns, one after the other."""
    while _total(widths) > width:
        longer = [column for column in columns if widths[column] > least[column]]
        if not longer:
            return
        widths[max(longer, key=lambda column: widths[column])] -= 1


def _cut(column: Column, row: Row, width: int) -> str:
    text = printable(row[column.name])
    surplus = cell_len(text) - width
    if surplus <= 0:
        return text
    # Both ends of a name tell it from others; a sentence begins with what matters.
    tail = 0 if column.prose else (width - 1) // 2
    head = set_cell_size(text, width - 1 - tail)
    return f"{head}…{set_cell_size(text[::-1], tail)[::-1]}"
