"""Rows in and out of SQLite's tables, each with its checksum; `schema` says which tables."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from controlplane.edges.store import rows
from controlplane.fleet import Unkept


def put(connection: sqlite3.Connection, table: str, values: Iterable[tuple[Any, ...]]) -> None:
    """Add rows, or replace those with the same keys."""
    found = [(*row, rows.checksum(table, *row)) for row in values]
    if found:
        marks = ", ".join("?" * len(found[0]))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", found)  # noqa: S608 - names of ours


def log_on(connection: sqlite3.Connection, audit: Unkept) -> None:
    """Bring the audit log up to date, and drop what is too much of it."""
    connection.execute("DELETE FROM audit WHERE number > ?", (audit.after,))
    put(connection, "audit", [(it.number, it.at, it.said) for it in audit.entries])
    if audit.entries:
        oldest = audit.entries[-1].number - audit.most
        connection.execute("DELETE FROM audit WHERE number <= ?", (oldest,))


def read(connection: sqlite3.Connection, table: str, columns: str) -> list[tuple[Any, ...]]:
    """All rows of a table, in the order of the first column.

    Raises:
        DamagedError: One is not as it was written.
    """
    found = connection.execute(f"SELECT {columns}, checksum FROM {table} ORDER BY 1")  # noqa: S608 - names of ours
    return [rows.intact(table, row) for row in found]
