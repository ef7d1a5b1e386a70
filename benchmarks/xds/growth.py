"""One pool changes while there are more and more streams and pools: what does that cost?"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.figures import Progress, number, range_of
from benchmarks.xds.stage import STREAMS_OF_CHANNEL, Clients, Measured, asking, measure, server

REPLICAS: Final = 4
CHANGES: Final = 10
MOST_HELD: Final = 1_000_000
"""Pools times streams that hold them all; beyond it, connecting them takes longer than the rest."""

PER_STREAM: Final = 100_000
"""Bytes that an idle stream may take at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is.

    Attributes:
        all_pools: Whether each stream asks for all pools, or for one.
        pools: In the fleet.
        streams: Open.
        streams_of_channel: On one connection.
    """

    all_pools: bool
    pools: int
    streams: int
    streams_of_channel: int = STREAMS_OF_CHANNEL

    @property
    def changes(self) -> list[tuple[int, int]]:
        """Pools to change, each with how many streams ask for it."""
        pools = [change % min(self.pools, self.streams) for change in range(CHANGES)]
        return [(pool, self.subscribers(pool)) for pool in pools]

    def subscribers(self, pool: int) -> int:
        """Streams that ask for a pool, where stream n that wants one asks for n modulo pools."""
        return self.streams if self.all_pools else len(range(pool, self.streams, self.pools))


@dataclass(frozen=True, slots=True)
class Row:
    """One size.

    Attributes:
        size: That there was.
        measured: One push for each change.
        bytes_per_stream: By which the server's memory had grown when all were idle.
    """

    size: Size
    measured: Measured
    bytes_per_stream: float

    @property
    def microseconds_each(self) -> float:
        """Of the server's CPU, per change and stream that asked for it."""
        changes = zip(self.measured.pushes, self.size.changes, strict=True)
        return 1e6 * median(push.cpu / answers for push, (_, answers) in changes)


def sizes(streams: Sequence[int], pools: Sequence[int]) -> list[list[Size]]:
    """All sizes, in groups that one server can play, each larger than the one before.

    Args:
        streams: So many, ascending, at least two.
        pools: So many.
    """
    grids = [
        [Size(all_pools, wide, count) for count in streams if not all_pools or fits(wide, count)]
        for all_pools in (True, False)
        for wide in pools
    ]
    # Envoys have a connection each; its memory counts too.
    return [
        *grids,
        [Size(all_pools=False, pools=pools[0], streams=streams[1], streams_of_channel=1)],
    ]


def fits(pools: int, streams: int) -> bool:
    """Whether so many streams can ask for so many pools within the benchmark's time."""
    return pools * streams <= MOST_HELD


async def run(clients: Clients, progress: Progress, groups: Sequence[Sequence[Size]]) -> list[Row]:
    """Play every size."""
    rows = []
    for group in groups:
        pools, held = group[0].pools, 0
        asked_of = "all" if group[0].all_pools else "one"
        progress(f"growth: a server with {pools} pools")
        async with server("ours", pools=pools, replicas=REPLICAS) as each:
            empty = await each.held()
            for size in group:
                progress(f"growth: {size.streams} streams, each to {asked_of} of {pools} pools")
                asked = asking(
                    each, all_pools=size.all_pools, streams_of_channel=size.streams_of_channel
                )
                await clients.tell("open", each, range(held, size.streams), **asked)
                held = size.streams
                grown = (await each.held()).rss - empty.rss
                measured = await measure(each, clients, size.changes)
                rows.append(Row(size, measured, grown / held))
            await clients.tell("close", each, ())
    return rows


def table(rows: Sequence[Row]) -> str:
    """A line for each size."""
    lines = [
        f"### growth: the weights of one pool of {REPLICAS} replicas change",
        "",
        "| each stream asks for | pools | streams | told | server CPU per change, ms |"
        " per stream told, µs | change to last ACK, ms | building, CPU ms | kB per idle stream |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        size, pushes = row.size, row.measured.pushes
        told = f"{median(answers for _, answers in size.changes):g}"
        own = " (own connection)" if size.streams_of_channel == 1 else ""
        cells = (
            ("all pools" if size.all_pools else "one pool") + own,
            str(size.pools),
            str(size.streams),
            told,
            range_of([1000 * push.cpu for push in pushes]),
            number(row.microseconds_each),
            range_of([1000 * push.wall for push in pushes]),
            range_of([1000 * push.build_cpu for push in pushes]),
            number(row.bytes_per_stream / 1000) + (" *" if row.measured.is_disturbed else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    if any(row.measured.is_disturbed for row in rows):
        lines += ["", "\\* Disturbed by others."]
    return "\n".join([*lines, "", *_verdicts(rows)])


def _verdicts(rows: Sequence[Row]) -> list[str]:
    """Per stream told, in the largest fleet to the smallest, with as many streams."""
    lines = []
    for all_pools in (True, False):
        same = [row for row in rows if row.size.all_pools is all_pools]
        for streams in sorted({row.size.streams for row in same}):
            found = [
                row
                for row in same
                if row.size.streams == streams and row.size.streams_of_channel > 1
            ]
            if len(found) > 1:
                few, many = found[0], found[-1]
                lines.append(
                    f"{streams} streams, {'all pools' if all_pools else 'one pool'} each:"
                    f" CPU per change, {many.size.pools} pools to {few.size.pools}:"
                    f" {_cpu(many) / _cpu(few):.2f} ×"
                    f" with {_told(many) / _told(few):.3g} × as many streams told."
                )
    idle = [row for row in rows if not row.size.all_pools]
    worst = max(idle, key=lambda row: row.bytes_per_stream)
    met = "met" if worst.bytes_per_stream <= PER_STREAM else "missed"
    lines.append(
        f"An idle stream that asks for one pool takes at most {worst.bytes_per_stream / 1000:.0f}"
        f" kB, wanted ≤ {PER_STREAM // 1000} kB: {met}."
    )
    return lines


def _cpu(row: Row) -> float:
    return median(push.cpu for push in row.measured.pushes)


def _told(row: Row) -> float:
    return median(answers for _, answers in row.size.changes)
