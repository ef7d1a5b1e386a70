"""The command line: everything, one part after the other, then the figures and files."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import machine
from benchmarks.figures import Progress
from benchmarks.xds import encode, endurance, fan_out, growth, peers
from benchmarks.xds.stage import Clients, clients

RESULTS: Final = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is run.

    Attributes:
        encodings: Repetitions of a change that is only encoded.
        rounds: Of the fan-out, and beside the peers.
        pushes: Of each contender in a round.
        streams: Of the growth, ascending.
        pools: Of the growth.
        cycles: Connecting and leaving.
        soak: Seconds.
    """

    encodings: int
    rounds: int
    pushes: int
    streams: tuple[int, ...]
    pools: tuple[int, ...]
    cycles: int
    soak: float


USUAL: Final = Plan(9, 5, 15, (100, 1000, 4000), (10, 100, 1000), 2000, 300)
QUICK: Final = Plan(5, 2, 5, (100, 1000), (10, 100), 400, 15)

Part = Callable[[Plan, Clients, Progress], Awaitable[tuple[str, Any]]]


async def _encode(plan: Plan, _: Clients, progress: Progress) -> tuple[str, Any]:
    progress("encode")
    done = encode.run(repetitions=plan.encodings)
    return f"### encode\n\n{encode.table(done)}", asdict(done)


async def _fan_out(plan: Plan, clients: Clients, progress: Progress) -> tuple[str, Any]:
    done = await fan_out.run(
        clients, progress, fan_out.BARE, rounds=plan.rounds, pushes=plan.pushes
    )
    return fan_out.table(done, fan_out.BARE), [asdict(each) for each in done]


async def _mtls(plan: Plan, clients: Clients, progress: Progress) -> tuple[str, Any]:
    done = await fan_out.run(
        clients, progress, fan_out.MTLS, rounds=plan.rounds, pushes=plan.pushes
    )
    return fan_out.table(done, fan_out.MTLS), [asdict(each) for each in done]


async def _peers(plan: Plan, _: Clients, progress: Progress) -> tuple[str, Any]:
    done = await peers.run(progress, rounds=plan.rounds, pushes=plan.pushes)
    return peers.table(done), [asdict(each) for each in done]


async def _growth(plan: Plan, clients: Clients, progress: Progress) -> tuple[str, Any]:
    done = await growth.run(clients, progress, growth.sizes(plan.streams, plan.pools))
    return growth.table(done), [asdict(each) for each in done]


async def _endurance(plan: Plan, clients: Clients, progress: Progress) -> tuple[str, Any]:
    done = await endurance.run(clients, progress, count=plan.cycles, seconds=plan.soak)
    return endurance.table(done), asdict(done)


PARTS: Final[Mapping[str, Part]] = {
    "encode": _encode,
    "fan-out": _fan_out,
    "mtls": _mtls,
    "peers": _peers,
    "growth": _growth,
    "endurance": _endurance,
}


@click.command
@click.option("--only", type=click.Choice(list(PARTS)), help="One part; nothing is written.")
@click.option(
    "--processes", type=click.IntRange(1, 16), default=2, show_default=True, help="Of clients."
)
@click.option("--quick", is_flag=True, help="A few minutes, to try it out.")
def main(only: str | None, processes: int, *, quick: bool) -> None:
    """Measure what the xDS server costs, beside bare gRPC and, with Go, go-control-plane."""
    try:
        asyncio.run(_main(only, processes, quick=quick))
    except asyncio.CancelledError:
        click.echo("\nterminated; nothing is written", err=True)
        sys.exit(128 + signal.SIGTERM)


async def _main(only: str | None, processes: int, *, quick: bool) -> None:
    this = asyncio.current_task()
    assert this is not None
    # As Ctrl-C does by itself: contexts close, so everything that was started ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    plan, described = QUICK if quick else USUAL, machine.describe()
    head = " · ".join(f"{name} {value}" for name, value in described.items())
    click.echo(head)
    progress = Progress()
    texts, figures = [head], {}
    async with clients(processes) as started:
        for name in [only] if only else PARTS:
            text, figures[name] = await PARTS[name](plan, started, progress)
            click.echo(f"\n{text}\n")
            texts.append(text)
    if only:
        return
    data = {
        "machine": {**described, "load_average_after": round(os.getloadavg()[0], 2)},
        "settings": {**asdict(plan), "client_processes": processes},
        "parts": figures,
    }
    # Results that are kept are named by when they began; a trial replaces the last one.
    kept = "quick" if quick else str(described["when"])[:16].replace(":", "")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{kept}.md").write_text("\n\n".join(texts) + "\n")
    (RESULTS / f"{kept}.json").write_text(json.dumps(data, indent=1) + "\n")
    click.echo(f"written: {RESULTS / kept}.md and .json")


if __name__ == "__main__":
    main()
