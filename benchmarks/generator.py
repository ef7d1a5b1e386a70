"""Run the load generator of `plimsoll load` in a process of its own, and keep every request.

Run as ``python -m benchmarks.generator FOLDER``, where `generating` has written what to send. The
two processes talk through files in that folder.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.balance.cell import body
from benchmarks.balance.wire import PATH, SERVED_BY
from benchmarks.worlds.traffic import Arrival
from controlplane.tools.load.generator import Generator
from controlplane.tools.load.record import Answer
from controlplane.tools.load.schedule import Departure, Step
from tests.processes import process, until

PATIENCE: Final = 60.0
"""Seconds after the load for the last answers; no run that is not cut comes near it."""

ORDER: Final = "order.json"
READY: Final = "ready"
"""A file that exists once the generator is ready to begin."""
BEGIN: Final = "begin"
"""A file with the time at which the load begins, in seconds of the monotonic clock."""
OUTCOME: Final = "outcome.json"

LOOKS: Final = 0.05
"""Seconds between two looks for `BEGIN`."""
LEAD: Final = 0.3
"""Seconds until the load begins, for the generator to see `BEGIN`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was sent.

    Attributes:
        at: Seconds after the begin of the load when it was due.
        kind: Its class.
        tokens: Of its texts.
        late: Seconds after that when it was sent.
        latency: Seconds from when it was due to the end of the answer; None for a request that
            failed, or had no answer when the run was cut.
        status: Of the answer; None without one.
        replica: Which one answered with success; None: none did.
        took: Seconds from when it was due to its end, failed ones included; None where it had not
            ended when the load was given up.
    """

    at: float
    kind: str
    tokens: int
    late: float
    latency: float | None
    status: int | None
    replica: int | None
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A generator's whole report.

    Attributes:
        requests: In the order in which they were due.
        cut_at: Seconds after the begin when the run was cut, because too many requests waited.
        cpu: Seconds of CPU that the generator took per second.
    """

    requests: tuple[Request, ...]
    cut_at: float | None
    cpu: float


def encode(outcome: Outcome) -> str:
    """Write an outcome as text."""
    return json.dumps(asdict(outcome))


def decode(text: str) -> Outcome:
    """Read an outcome from text."""
    data: dict[str, Any] = json.loads(text)
    requests = tuple(Request(**request) for request in data["requests"])
    return Outcome(requests, data["cut_at"], data["cpu"])


@dataclass(frozen=True, slots=True)
class Generating:
    """A generator that waits for `begin`."""

    started: asyncio.subprocess.Process
    folder: Path

    def begin(self) -> float:
        """Start the load; return when it begins, on the monotonic clock."""
        at = time.monotonic() + LEAD
        unseen = self.folder / "begin.part"
        unseen.write_text(repr(at))
        unseen.rename(self.folder / BEGIN)
        return at

    async def outcome(self) -> Outcome:
        """Wait until the generator has ended, and return what it saw."""
        if await self.started.wait() != 0:
            raise RuntimeError(f"the generator failed; see {self.folder / 'generator.log'}")
        return decode((self.folder / OUTCOME).read_text())


@asynccontextmanager
async def generating(
    ports: Sequence[int],
    schedule: Sequence[Arrival],
    seconds: float,
    most: int,
    folder: Path,
    patience: float = PATIENCE,
) -> AsyncIterator[Generating]:
    """Start a generator; opens when it is ready to begin.

    Args:
        ports: Of the proxies, on loopback; requests are dealt to them in turn.
        schedule: What to send.
        seconds: How long the load lasts.
        most: Requests without an answer at which the run is cut.
        folder: For its files.
        patience: Seconds after the load for the last answers.
    """
    order = {
        "ports": [*ports],
        "schedule": [asdict(arrival) for arrival in schedule],
        "seconds": seconds,
        "most": most,
        "patience": patience,
    }
    (folder / ORDER).write_text(json.dumps(order))

    async def is_ready() -> bool:
        return started.returncode is not None or (folder / READY).exists()

    command = (sys.executable, "-m", "benchmarks.generator", str(folder))
    async with process(*command, log=folder / "generator.log") as started:
        await until(f"the generator is ready; see {folder}", is_ready)
        yield Generating(started, folder)


def _play(folder: Path) -> None:
    order = json.loads((folder / ORDER).read_text())
    step = Step(0, len(order["schedule"]) / order["seconds"], 0.0, 0.0, order["seconds"])
    schedule = [*_departures(order, step)]
    gc.freeze()
    (folder / READY).touch()
    while not (folder / BEGIN).exists():
        time.sleep(LOOKS)
    begin = float((folder / BEGIN).read_text())
    (folder / OUTCOME).write_text(encode(asyncio.run(_send(order, schedule, step, begin))))


def _departures(order: Any, step: Step) -> Iterator[Departure]:
    for number, data in enumerate(order["schedule"]):
        each = Arrival(**data)
        target = number % len(order["ports"])
        yield Departure(each.at, step, target, body(each), each.kind, each.tokens)


async def _send(order: Any, schedule: Sequence[Departure], step: Step, begin: float) -> Outcome:
    ended: list[Answer] = []
    generator = Generator(
        [f"http://127.0.0.1:{port}{PATH}" for port in order["ports"]],
        [step],
        most=order["most"],
        waits=False,
        headers={"host": "pool"},
        replica_header=SERVED_BY,
        answered=ended.append,
    )
    await generator.run(schedule, begin, order["patience"])
    requests = [
        *map(_request, ended),
        *(
            Request(each.at, each.kind, round(each.tokens), late, None, None, None)
            for each, late in generator.given_up
        ),
    ]
    requests.sort(key=lambda request: request.at)
    record = generator.record.steps[0]
    return Outcome(tuple(requests), generator.cut_at, record.cpu or 0.0)


def _request(answer: Answer) -> Request:
    departure, right = answer.departure, answer.status == 200
    return Request(
        departure.at,
        departure.kind,
        round(departure.tokens),
        answer.late,
        answer.latency if right else None,
        answer.status,
        int(answer.replica or -1) if right else None,
        answer.latency,
    )


if __name__ == "__main__":
    _play(Path(sys.argv[1]))
