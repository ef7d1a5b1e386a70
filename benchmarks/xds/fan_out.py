"""All weights of one pool change, and a thousand streams are told.

Ours is compared with bare gRPC, and over mutual TLS with itself in plain text.
"""

import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.figures import Progress, Spread, range_of, spread, times
from benchmarks.xds.requests import TYPE_URLS, node_id
from benchmarks.xds.stage import (
    STREAMS_OF_CHANNEL,
    Clients,
    Measured,
    Push,
    asking,
    measure,
    server,
)
from controlplane.resources.resource import ENDPOINT
from tests.certificates import Authority, node

STREAMS: Final = 1000
REPLICAS: Final = 64


@dataclass(frozen=True, slots=True)
class Contender:
    """A server and what its streams do.

    Attributes:
        server: Which.
        type_urls: What each stream asks for. Ours serves Envoys, which want all types; bare gRPC
            knows of none.
        streams_of_channel: On one connection. Each client that shows a certificate has its own.
        has_tls: Whether both sides show certificates.
    """

    server: str = "ours"
    type_urls: tuple[str, ...] = TYPE_URLS
    streams_of_channel: int = 1
    has_tls: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contenders.

    Attributes:
        words: What is compared.
        contenders: By name; the first is measured by the second.
        at_most: Times what the second takes.
    """

    words: str
    contenders: dict[str, Contender]
    at_most: float


BARE: Final = Pair(
    "Ours to bare gRPC",
    {
        "ours": Contender(streams_of_channel=STREAMS_OF_CHANNEL),
        "bare": Contender("bare", (ENDPOINT,), STREAMS_OF_CHANNEL),
    },
    1.5,
)
MTLS: Final = Pair(
    "Mutual TLS to plain text", {"mTLS": Contender(has_tls=True), "plain": Contender()}, 1.2
)


@dataclass(frozen=True, slots=True)
class Round:
    """Pushes of each contender.

    Attributes:
        measured: By contender.
    """

    measured: dict[str, Measured]

    def ratio(self, what: str, pair: Pair) -> float:
        """The median of the first over that of the second; ``wall`` or ``cpu``."""
        first, second = (
            median(_values(self.measured[name].pushes, what)) for name in pair.contenders
        )
        return first / second


def _values(pushes: Sequence[Push], what: str) -> list[float]:
    return [float(getattr(push, what)) for push in pushes]


async def run(
    clients: Clients, progress: Progress, pair: Pair, *, rounds: int, pushes: int
) -> list[Round]:
    """Push again and again, to the streams of each contender in turn."""
    done: list[Round] = []
    numbers = range(STREAMS)
    async with AsyncExitStack() as stack:
        certificates = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if any(each.has_tls for each in pair.contenders.values()):
            progress(f"fan-out: {STREAMS} certificates")
            _certify(certificates)
        servers = {}
        for name, contender in pair.contenders.items():
            tls = certificates if contender.has_tls else None
            process = server(contender.server, pools=1, replicas=REPLICAS, tls=tls)
            servers[name] = each = await stack.enter_async_context(process)
            progress(f"fan-out: {STREAMS} streams to {name}")
            asked = asking(
                each,
                all_pools=True,
                type_urls=contender.type_urls,
                streams_of_channel=contender.streams_of_channel,
                tls=tls,
            )
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


def _certify(folder: Path) -> None:
    """Write certificates of the server and of all nodes."""
    authority = Authority()
    authority.write(folder)
    authority.server().write(folder, "server")
    for number in range(STREAMS):
        authority.leaf([node(node_id(number))]).write(folder, node_id(number))


def table(rounds: Sequence[Round], pair: Pair) -> str:
    """What a push took, and how the two compare."""
    count = len(next(iter(rounds[0].measured.values())).pushes)
    lines = [
        f"### fan-out: {STREAMS} streams, all weights of {REPLICAS} replicas,"
        f" {len(rounds)} rounds of {count} pushes",
        "",
        "| | change to last ACK, ms | server CPU per push, ms | building it, ms |",
        "|---|---:|---:|---:|",
    ]
    for name, contender in pair.contenders.items():
        pushes = [push for each in rounds for push in each.measured[name].pushes]
        cells = [
            range_of([1000 * value for value in _values(pushes, what)]) for what in ("wall", "cpu")
        ]
        # Bare gRPC is handed what is built.
        built = (
            range_of([1000 * push.build_wall for push in pushes])
            if contender.server == "ours"
            else "–"
        )
        lines.append(f"| {name} | {' | '.join(cells)} | {built} |")
    ratios = {what: spread([each.ratio(what, pair) for each in rounds]) for what in ("wall", "cpu")}
    disturbed = sum(any(m.is_disturbed for m in each.measured.values()) for each in rounds)
    return "\n".join(
        [
            *lines,
            "",
            f"{pair.words}, medians of each round: wall {_verdict(ratios['wall'], pair)},"
            f" CPU {_verdict(ratios['cpu'], pair)}.",
            *([f"Disturbed by others: {disturbed} of {len(rounds)} rounds."] if disturbed else []),
        ]
    )


def _verdict(ratio: Spread, pair: Pair) -> str:
    met = "met" if ratio.middle <= pair.at_most else "missed"
    return f"{times(ratio)}, wanted ≤ {pair.at_most:g}: {met}"
