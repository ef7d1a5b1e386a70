"""A process with all replicas of a scenario: what they compute takes time and nothing else.

Run as ``python -m benchmarks.balance.replicas``. The models are those of `benchmarks.worlds`. The
answer's ``x-replica`` header says who served it, ``endpoint-load-metrics`` how busy that one is.
What happens to replicas on the way happens so many seconds after the first request.
"""

import asyncio
import gc
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from math import exp
from typing import Final

import click

from benchmarks.balance.cell import MODEL
from benchmarks.balance.wire import ORCA, PATH, SERVED_BY, STATE, Message, response, split
from benchmarks.worlds.memory import Memory
from benchmarks.worlds.scenarios import SCENARIOS, Scenario
from benchmarks.worlds.server import NOT_READY, OUT_OF_MEMORY, TAKEN, Server
from benchmarks.worlds.traffic import BYTES_PER_TOKEN
from benchmarks.worlds.worlds import SlotsWorld

MODELS: Final = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()

REFRESH: Final = 0.25
"""Seconds between two measurements of what ORCA reports."""

MEMORY: Final = 3.0
"""Seconds after which a measurement counts 1/e in what ORCA reports. Less, and chance in the sizes
of a few requests moves it; more, and a replica that slows down shows it late."""


@dataclass(frozen=True, slots=True)
class State:
    """What a replica says of itself.

    Attributes:
        busy: Seconds in which it computed, so far; of all its slots together.
        tokens: That it has computed so far.
        out_of_memory: Times that it ran out of memory.
    """

    busy: float
    tokens: int
    out_of_memory: int


class Orca:
    """Utilization, requests and errors per second, measured honestly over the last seconds."""

    def __init__(self, replica: Server, slots: int) -> None:
        """Prepare reports of a replica that is idle.

        Args:
            replica: Whose.
            slots: Requests, or batches, that it computes at the same time.
        """
        self._replica, self._slots = replica, slots
        self._measured_at: float | None = None
        self._counters: Sequence[float] = (0.0, 0, 0)
        self._rates = [0.0, 0.0, 0.0]
        self._known = 0.0
        self._header = ""

    def header(self, now: float) -> str:
        """The value of ``endpoint-load-metrics``; empty before anything is known."""
        if self._measured_at is None:
            self._measured_at = now
        if now - self._measured_at >= REFRESH:
            self._measure(now, now - self._measured_at)
        return self._header

    def _measure(self, now: float, seconds: float) -> None:
        replica = self._replica
        errors = replica.refused.get(OUT_OF_MEMORY, 0)
        counters = (replica.busy(now) / self._slots, replica.answered, errors)
        fresh = 1 - exp(-seconds / MEMORY)
        # Weights of the past that begins with nothing add up to `known`, not to 1.
        self._known = self._known * (1 - fresh) + fresh
        self._rates = [
            rate * (1 - fresh) + fresh * (new - old) / seconds
            for rate, new, old in zip(self._rates, counters, self._counters, strict=True)
        ]
        self._counters, self._measured_at = counters, now
        utilization, rps, eps = (rate / self._known for rate in self._rates)
        self._header = (
            f"TEXT application_utilization={min(utilization, 1.0):.4f},"
            f"rps_fractional={rps + eps:.3f},eps={eps:.3f}"
        )


class Fleet:
    """All replicas, and what happens to them."""

    def __init__(self, scenario: Scenario, slowness: float) -> None:
        """Prepare replicas that are idle.

        Args:
            scenario: Says which.
            slowness: Times as long that everything takes.
        """
        self._scenario = scenario
        self._loop = asyncio.get_running_loop()
        world = scenario.world
        self.replicas = [
            world.server(speed, self._loop.call_at, self._memory(number))
            for number, speed in enumerate(scenario.speeds)
        ]
        for pair in scenario.gpus:
            one, other = (self.replicas[number] for number in pair)
            one.share_with(other)
            other.share_with(one)
        slots = world.slots if isinstance(world, SlotsWorld) else 1
        self.orca = [Orca(replica, slots) for replica in self.replicas]
        for replica in self.replicas:
            replica.pace(self._loop.time(), slowness)
        if scenario.joins is not None:
            self.replicas[-1].ready = False
        self._begun = False

    def _memory(self, number: int) -> Memory | None:
        filling = self._scenario.filling
        if filling is None:
            return None
        return Memory(filling if filling.replica == number else None)

    def begin(self) -> None:
        """The load has begun, if it had not."""
        if self._begun:
            return
        self._begun = True
        now, scenario, call_at = self._loop.time(), self._scenario, self._loop.call_at
        for replica in self.replicas:
            if replica.memory is not None:
                replica.memory.begun = now
        for change in scenario.changes:
            pace, at = self.replicas[change.replica].pace, now + change.at
            call_at(at, pace, at, change.factor)
        if scenario.joins is not None:
            call_at(now + scenario.joins, self._joins)
        if scenario.dies is not None:
            at, number = scenario.dies
            call_at(now + at, self._dies, number)

    def _joins(self) -> None:
        self.replicas[-1].ready = True

    def _dies(self, number: int) -> None:
        self.replicas[number].ready = False


class Connection(asyncio.Protocol):
    """A connection to one of the replicas."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        """Prepare a connection.

        Args:
            fleet: All replicas.
            number: The one that is asked.
        """
        self._fleet, self._number = fleet, number
        self._replica: Server = fleet.replicas[number]
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
            text = self._replica.exposition(self._loop.time())
            self._answer(message, HTTPStatus.OK, text.encode())
        elif path == STATE:
            self._answer(message, HTTPStatus.OK, json.dumps(asdict(self._state())).encode())
        elif path == "/v1/models":
            self._answer(message, HTTPStatus.OK, MODELS)
        elif path == "/health":
            self._answer(message, HTTPStatus.OK if self._replica.ready else HTTPStatus(NOT_READY))
        else:
            self._answer(message, HTTPStatus.NOT_FOUND)

    def _state(self) -> State:
        replica = self._replica
        out_of_memory = replica.refused.get(OUT_OF_MEMORY, 0)
        return State(replica.busy(self._loop.time()), replica.tokens_answered, out_of_memory)

    def _embed(self, message: Message) -> None:
        self._fleet.begin()
        texts = json.loads(message.body)["input"]

        def done(_: float) -> None:
            headers = {SERVED_BY: self._served_by}
            if orca := self._fleet.orca[self._number].header(self._loop.time()):
                headers[ORCA] = orca
            self._answer(message, HTTPStatus.OK, b"[]", headers)

        tokens = [len(text) // BYTES_PER_TOKEN for text in texts]
        status = self._replica.admit(self._loop.time(), tokens, done)
        if status != TAKEN:
            self._answer(message, HTTPStatus(status))

    def _answer(
        self,
        to: Message,
        status: HTTPStatus,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        self._transport.write(response(f"{status.value} {status.phrase}", headers or {}, body))
        if to.is_last:
            self._transport.close()


@click.command
@click.option("--ports", required=True, help="One for each replica, separated by commas.")
@click.option("--scenario", required=True, type=click.Choice(list(SCENARIOS)))
@click.option("--slowness", default=1.0, help="Times as long that everything takes.")
def main(ports: str, scenario: str, slowness: float) -> None:
    """Serve until terminated."""
    asyncio.run(_serve([int(port) for port in ports.split(",")], SCENARIOS[scenario], slowness))


async def _serve(ports: list[int], scenario: Scenario, slowness: float) -> None:
    loop, fleet = asyncio.get_running_loop(), Fleet(scenario, slowness)
    for number, port in enumerate(ports):
        await loop.create_server(lambda number=number: Connection(fleet, number), "127.0.0.1", port)  # type: ignore[misc]
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
