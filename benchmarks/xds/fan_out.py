"""All weights of one pool change, and a thousand streams are told: ours beside bare gRPC."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.figures import Progress, Spread, range_of, spread, times
from benchmarks.xds.requests import TYPE_URLS
from benchmarks.xds.stage import Clients, Measured, Push, asking, measure, server
from controlplane.resources.resource import ENDPOINT

STREAMS: Final = 1000
REPLICAS: Final = 64
AT_MOST: Final = 1.5
"""Times what bare gRPC takes."""

ASKED: Final = {"ours": TYPE_URLS, "bare": (ENDPOINT,)}
"""What each stream asks for. Ours serves Envoys, which want all types; bare gRPC knows of none."""


@dataclass(frozen=True, slots=True)
class Round:
    """Pushes of each contender.

    Attributes:
        measured: By contender.
    """

    measured: dict[str, Measured]

    def ratio(self, what: str) -> float:
        """The median of ours over that of bare gRPC; ``wall`` or ``cpu``."""
        ours, bare = (
            median(_values(self.measured[name].pushes, what)) for name in ("ours", "bare")
        )
        return ours / bare


def _values(pushes: Sequence[Push], what: str) -> list[float]:
    return [float(getattr(push, what)) for push in pushes]


async def run(clients: Clients, progress: Progress, *, rounds: int, pushes: int) -> list[Round]:
    """Push again and again, to the streams of each contender in turn."""
    done: list[Round] = []
    numbers = range(STREAMS)
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(server(name, pools=1, replicas=REPLICAS))
            for name in ASKED
        }
        for name, each in servers.items():
            progress(f"fan-out: {STREAMS} streams to {name}")
            asked = asking(each, all_pools=True, type_urls=ASKED[name])
            await clients.tell("open", each, numbers, **asked)
            # One that is not counted: buffers and caches of both sides fill.
            await each.change(0, STREAMS)
        for number in range(rounds):
            measured = {}
            # Who begins changes with every round.
            for name in sorted(servers, reverse=bool(number % 2)):
                progress(f"fan-out: round {number + 1} of {rounds}, {name}")
                measured[name] = await measure(servers[name], clients, [(0, STREAMS)] * pushes)
            done.append(Round(measured))
        for each in servers.values():
            await clients.tell("close", each, ())
    return done


def table(rounds: Sequence[Round]) -> str:
    """What a push took, and how ours compares."""
    count = len(rounds[0].measured["ours"].pushes)
    lines = [
        f"### fan-out: {STREAMS} streams, all weights of {REPLICAS} replicas,"
        f" {len(rounds)} rounds of {count} pushes",
        "",
        "| | change to last ACK, ms | server CPU per push, ms | building it, ms |",
        "|---|---:|---:|---:|",
    ]
    for name in ASKED:
        pushes = [push for each in rounds for push in each.measured[name].pushes]
        cells = [
            range_of([1000 * value for value in _values(pushes, what)]) for what in ("wall", "cpu")
        ]
        # Bare gRPC is handed what is built.
        built = range_of([1000 * push.build_wall for push in pushes]) if name == "ours" else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {built} |")
    ratios = {what: spread([each.ratio(what) for each in rounds]) for what in ("wall", "cpu")}
    disturbed = sum(any(m.is_disturbed for m in each.measured.values()) for each in rounds)
    return "\n".join(
        [
            *lines,
            "",
            f"Ours to bare gRPC, medians of each round: wall {_verdict(ratios['wall'])},"
            f" CPU {_verdict(ratios['cpu'])}.",
            *([f"Disturbed by others: {disturbed} of {len(rounds)} rounds."] if disturbed else []),
        ]
    )


def _verdict(ratio: Spread) -> str:
    met = "met" if ratio.middle <= AT_MOST else "missed"
    return f"{times(ratio)}, wanted ≤ {AT_MOST:g}: {met}"
