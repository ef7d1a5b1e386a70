"""A process with all replicas of a scenario: they queue, sleep, and report as TEI does.

Run as ``python -m benchmarks.balance.replicas``. A request's body is as long as its tokens; the
answer's ``x-replica`` header says who served it, ``endpoint-load-metrics`` how busy that one is.
What happens to replicas on the way happens so many seconds after the first request.
"""

import asyncio
import gc
from pathlib import Path

import click
from pydantic import TypeAdapter

from benchmarks.balance.memory import Memory
from benchmarks.balance.replica import Replica
from benchmarks.balance.reports import Durations, Orca, exposition
from benchmarks.balance.scenario import BYTES_PER_TOKEN, Scenario
from benchmarks.balance.wire import (
    ORCA,
    OUT_OF_MEMORY,
    PATH,
    SERVED_BY,
    Message,
    response,
    split,
)


class Fleet:
    """All replicas, and what happens to them."""

    def __init__(self, scenario: Scenario) -> None:
        """Prepare replicas that are idle.

        Args:
            scenario: Says which.
        """
        self._scenario = scenario
        self._loop = asyncio.get_running_loop()
        self.durations = [Durations() for _ in scenario.speeds]
        self.replicas = [
            Replica(
                scenario.slots,
                scenario.token_seconds / speed,
                self._loop.call_at,
                self.durations[number].observe,
                self._memory(number),
            )
            for number, speed in enumerate(scenario.speeds)
        ]
        for pair in scenario.gpus:
            one, other = (self.replicas[number] for number in pair)
            one.share_with(other)
            other.share_with(one)
        self.orca = [Orca(replica) for replica in self.replicas]
        self._ready = scenario.ready_at_first
        self._begun = False

    def _memory(self, number: int) -> Memory | None:
        filling = self._scenario.filling
        if filling is None:
            return None
        return Memory(filling if filling.replica == number else None)

    def is_ready(self, number: int) -> bool:
        """Whether a replica's model is loaded."""
        return number < self._ready

    def begin(self) -> None:
        """The load has begun, if it had not."""
        if self._begun:
            return
        self._begun = True
        now = self._loop.time()
        for replica in self.replicas:
            if replica.memory is not None:
                replica.memory.begun = now
        for change in self._scenario.changes:
            pace, at = self.replicas[change.replica].pace, now + change.at
            self._loop.call_at(at, pace, at, change.factor)
        if self._scenario.joins is not None:
            self._loop.call_at(now + self._scenario.joins, self._join)

    def _join(self) -> None:
        self._ready += 1


class Connection(asyncio.Protocol):
    """A connection to one of the replicas."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        """Prepare a connection.

        Args:
            fleet: All replicas.
            number: The one that is asked.
        """
        self._fleet, self._number = fleet, number
        self._replica = fleet.replicas[number]
        self._served_by = str(number)
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go into."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Serve what is complete."""
        self._buffer += data
        while (found := split(self._buffer)) is not None:
            message, self._buffer = found
            self._serve(message)

    def _serve(self, message: Message) -> None:
        path = message.start.split(" ")[1]
        if path == PATH:
            self._embed(message)
        elif path == "/metrics":
            durations = self._fleet.durations[self._number]
            text = exposition(self._replica, durations, self._loop.time())
            self._answer(message, "200 OK", text.encode())
        elif path == OUT_OF_MEMORY:
            self._answer(message, "200 OK", str(self._replica.out_of_memory).encode())
        elif self._fleet.is_ready(self._number):
            self._answer(message, "200 OK")
        else:
            self._answer(message, "503 Service Unavailable")

    def _embed(self, message: Message) -> None:
        self._fleet.begin()
        if not self._fleet.is_ready(self._number):
            self._answer(message, "503 Service Unavailable", b"the model is not loaded")
            return
        now = self._loop.time()

        def done() -> None:
            headers = {SERVED_BY: self._served_by}
            if orca := self._fleet.orca[self._number].header(self._loop.time()):
                headers[ORCA] = orca
            self._answer(message, "200 OK", b"[]", headers)

        if not self._replica.admit(now, len(message.body) // BYTES_PER_TOKEN, done):
            self._answer(message, "500 Internal Server Error", b"CUDA out of memory")

    def _answer(
        self, to: Message, status: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._transport.write(response(status, headers or {}, body))
        if to.is_last:
            self._transport.close()


@click.command
@click.option("--ports", required=True, help="One for each replica, separated by commas.")
@click.option("--scenario", required=True, type=click.Path(path_type=Path), help="As JSON.")
def main(ports: str, scenario: Path) -> None:
    """Serve until terminated."""
    read = TypeAdapter(Scenario).validate_json(scenario.read_text())
    asyncio.run(_serve([int(port) for port in ports.split(",")], read))


async def _serve(ports: list[int], scenario: Scenario) -> None:
    loop, fleet = asyncio.get_running_loop(), Fleet(scenario)
    for number, port in enumerate(ports):
        await loop.create_server(lambda number=number: Connection(fleet, number), "127.0.0.1", port)  # type: ignore[misc]
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
