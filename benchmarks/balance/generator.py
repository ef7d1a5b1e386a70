"""A process that sends requests when they are due, whatever became of those before.

Run as ``python -m benchmarks.balance.generator``. Latency counts from when a request should have
been sent, so a generator that falls behind, or a proxy that holds it up, hides nothing.
"""

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click

from benchmarks.balance.cell import body
from benchmarks.balance.outcome import Request, encode
from benchmarks.balance.wire import (
    PATH,
    SERVED_BY,
    MalformedMessageError,
    Message,
    request,
    split,
)
from benchmarks.worlds.scenarios import SCENARIOS
from benchmarks.worlds.traffic import Arrival, arrivals

PATIENCE: Final = 60.0
"""Seconds after the last request for the answers; no run that is not cut comes near it."""

READY: Final = "ready"
"""A file that is there once the generator is ready to begin."""

BEGIN: Final = "begin"
"""A file that says when the load begins, in seconds of the monotonic clock."""

OUTCOME: Final = "outcome.json"

LOOKS: Final = 0.05
"""Seconds between two looks for `BEGIN`."""


class Connection(asyncio.Protocol):
    """A connection to a proxy, which carries one request after the other."""

    def __init__(self) -> None:
        """Prepare a connection that waits for nothing."""
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._told: Callable[[Message | None], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what requests go into."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def send(self, data: bytes, told: Callable[[Message | None], None]) -> None:
        """Send a request; `told` gets the answer, or None when the connection ends without one."""
        assert self._transport is not None
        self._told = told
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Hand over the answer once it is complete."""
        self._buffer += data
        try:
            found = split(self._buffer)
        except MalformedMessageError:
            self._end()
            return
        if found is not None:
            message, self._buffer = found
            if message.is_last:
                self._end(message)
            else:
                self._tell(message)

    def connection_lost(self, _: Exception | None) -> None:
        """There will be no answer."""
        self._end()

    def _end(self, message: Message | None = None) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.close()
        self._tell(message)

    def _tell(self, message: Message | None) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(message)


class Generator:
    """Sends a schedule, dealing requests to targets in turn."""

    def __init__(self, ports: Sequence[int], most: int, patience: float = PATIENCE) -> None:
        """Prepare a generator.

        Args:
            ports: Of the proxies, on loopback.
            most: Requests without an answer at which the run is cut.
            patience: Seconds after the last request for the answers.
        """
        self._ports = ports
        self._idle: list[list[Connection]] = [[] for _ in ports]
        self._most, self._patience = most, patience
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._missing: dict[int, tuple[Arrival, float]] = {}
        self._all_answered = asyncio.Event()
        self.requests: list[Request] = []
        self.cut_at: float | None = None

    async def run(self, schedule: Sequence[Arrival], begun: float) -> None:
        """Send everything and wait for the answers, or stop when too many are missing.

        Args:
            schedule: What to send.
            begun: When its time begins, in seconds of the loop's clock.
        """
        for number, arrival in enumerate(schedule):
            await asyncio.sleep(begun + arrival.at - self._loop.time())
            if len(self._missing) >= self._most:
                self.cut_at = arrival.at
                break
            self._send(number, arrival, begun + arrival.at)
        if self.cut_at is None:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    while self._missing:
                        await self._all_answered.wait()
        for arrival, late in self._missing.values():
            self._record(arrival, late, None, None, None, None)
        for task in self._opening:
            task.cancel()

    def _send(self, number: int, arrival: Arrival, due: float) -> None:
        late = self._loop.time() - due
        self._missing[number] = (arrival, late)
        target = number % len(self._ports)
        data = request("POST", PATH, "pool", body(arrival))
        while self._idle[target]:
            connection = self._idle[target].pop()
            if connection.is_open:
                connection.send(data, partial(self._answered, number, target, connection, due))
                return
        task = asyncio.create_task(self._open(number, target, data, due))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, number: int, target: int, data: bytes, due: float) -> None:
        try:
            _, connection = await self._loop.create_connection(
                Connection, "127.0.0.1", self._ports[target]
            )
        except OSError:
            self._settle(number, None, due)
            return
        connection.send(data, partial(self._answered, number, target, connection, due))

    def _answered(
        self, number: int, target: int, connection: Connection, due: float, message: Message | None
    ) -> None:
        if connection.is_open:
            self._idle[target].append(connection)
        self._settle(number, message, due)

    def _settle(self, number: int, message: Message | None, due: float) -> None:
        arrival, late = self._missing.pop(number)
        status = replica = latency = None
        if message is not None:
            status = int(message.start.split(" ")[1])
            if status == 200:
                replica, latency = int(message.headers[SERVED_BY]), self._loop.time() - due
        self._record(arrival, late, latency, status, replica, self._loop.time() - due)
        if not self._missing:
            self._all_answered.set()

    def _record(
        self,
        arrival: Arrival,
        late: float,
        latency: float | None,
        status: int | None,
        replica: int | None,
        took: float | None,
    ) -> None:
        kind, tokens = arrival.kind, arrival.tokens
        request = Request(arrival.at, kind, tokens, late, latency, status, replica, took)
        self.requests.append(request)


@click.command
@click.option("--ports", required=True, help="Of the proxies, separated by commas.")
@click.option("--scenario", required=True, type=click.Choice(list(SCENARIOS)))
@click.option("--seed", required=True, type=int)
@click.option("--rate", required=True, type=float, help="Requests per second.")
@click.option("--seconds", required=True, type=float)
@click.option("--most", required=True, type=int, help="Requests in flight that end the run.")
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="For its files.")
def main(
    ports: str, scenario: str, seed: int, rate: float, seconds: float, most: int, folder: Path
) -> None:
    """Send load and write what came of it into a file."""
    schedule = list(arrivals(SCENARIOS[scenario].traffic, seed, rate, seconds))
    play(schedule, [int(port) for port in ports.split(",")], folder, most)


def play(
    schedule: Sequence[Arrival],
    ports: Sequence[int],
    folder: Path,
    most: int,
    patience: float = PATIENCE,
) -> None:
    """Wait to be told when to begin, send a schedule, and write what came of it.

    Args:
        schedule: What to send.
        ports: Of the proxies, on loopback.
        folder: For the files through which the process that started this one is spoken to.
        most: Requests without an answer at which the run is cut.
        patience: Seconds after the last request for the answers.
    """
    gc.freeze()
    (folder / READY).touch()
    while not (folder / BEGIN).exists():
        time.sleep(LOOKS)
    begin = float((folder / BEGIN).read_text())
    generator = partial(Generator, ports, most, patience)
    (folder / OUTCOME).write_text(asyncio.run(_run(generator, schedule, begin)))


async def _run(prepare: Callable[[], Generator], schedule: Sequence[Arrival], begin: float) -> str:
    generator = prepare()
    clock, cpu = time.monotonic(), time.process_time()
    await generator.run(schedule, begin)
    used = (time.process_time() - cpu) / (time.monotonic() - clock)
    requests = sorted(generator.requests, key=lambda request: request.at)
    return encode(requests, generator.cut_at, used)


if __name__ == "__main__":
    main()
