"""What the disk takes: the same rows in bare sqlite3, with the same promises."""

import sqlite3
import time
from pathlib import Path

from benchmarks.registry.fleet import replica_id, settings
from controlplane.config import ReplicaSettings, validated
from controlplane.fleet import RegisteredReplica
from controlplane.store import tables
from controlplane.store.tables import migrate


def commits(folder: Path, count: int, together: int) -> list[float]:
    """Commit rows of replicas.

    Args:
        folder: Where the file is made.
        count: Of commits.
        together: Rows in each.

    Returns:
        Milliseconds of each commit.
    """
    path = folder / f"bare-{together}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    migrate(connection, path)
    connection.execute("PRAGMA synchronous = FULL")
    took = []
    for commit in range(count):
        numbers = range(commit * together, (commit + 1) * together)
        values = [(*row, tables.checksum("replicas", *row)) for row in map(_row, numbers)]
        begun = time.monotonic()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO replicas VALUES (?, ?, ?, ?)", values)
        connection.execute("COMMIT")
        took.append(1000 * (time.monotonic() - begun))
    connection.close()
    return took


def _row(number: int) -> tuple[str, str, str]:
    said = validated(ReplicaSettings, settings(number, 9000))
    kept = RegisteredReplica(
        said.address, None, number, None, said, frozenset(said.model_fields_set)
    )
    return ("pool-000", replica_id(number), tables.replica_row(kept))
