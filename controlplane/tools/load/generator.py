"""Send requests when they are due, whatever became of those before.

A client that waited for answers would send less just when replicas are slow, and would not see it
(Gil Tene's "coordinated omission"), so latency counts from when a request was due. This is the only
generator: `plimsoll load`, the demonstration, the benchmarks and the tests of Envoy use it.
"""

import asyncio
import contextlib
import math
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from controlplane.tools.load.http import CONNECT, Client, Exchange, Response
from controlplane.tools.load.record import Answer, Record, StepRecord
from controlplane.tools.load.schedule import Departure, Step, measured_at
from controlplane.tools.load.workload import HEADERS

UPSTREAM: Final = "x-envoy-upstream-service-time"
"""Milliseconds, in answers that came through an Envoy: from Envoy having the whole request to Envoy
having the answer's headers, so waiting for a connection and further tries are included."""

BEHIND: Final = 1.0
"""Seconds after the end of a step from which on the rest of the step is not sent: a process that
does not keep up with a rate would never end."""

_NAME: Final = 64
"""Characters of a replica's name that are kept."""


def fault_of_status(response: Response) -> str | None:
    """Return what is wrong with an answer's status; None for 200 to 299."""
    status = response.status
    return None if status is not None and 200 <= status < 300 else f"status {status}"


class Generator:
    """Sends a schedule of requests once.

    Attributes:
        cut_at: Seconds after the begin of the load when the rest was left out, because too many
            requests were in flight or this process did not keep up; None: nothing was.
        reached: The number of the step it got to; answers still come in while later ones would have
            been sent.
        unanswered: Requests that were given up, because it was stopped or the patience was over.
    """

    def __init__(
        self,
        targets: Sequence[str],
        steps: Sequence[Step],
        *,
        most: int,
        waits: bool = True,
        timeout: float | None = None,
        connect: float = CONNECT,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        replica_header: str | None = None,
        fault: Callable[[Response], str | None] = fault_of_status,
        answered: Callable[[Answer], None] | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            most: Requests in flight at most.
            waits: Whether further requests wait while so many are in flight. Otherwise they end the
                load.
            timeout: Seconds after which a request has failed; None: never.
            connect: Seconds after which an attempt to connect has failed.
            replica_header: Of answers, that names the replica.
        """
        self.record = Record()
        self.sent = 0
        self.cut_at: float | None = None
        self.reached = 0
        self.unanswered = 0
        self._steps = steps
        self._waits, self._timeout = waits, timeout
        self._replica_header = replica_header and replica_header.lower()
        self._fault, self._told = fault, answered
        self._loop = asyncio.get_running_loop()
        of_all = {**HEADERS, **(headers or {})}
        self._clients = [Client(url, of_all, connect, tls) for url in targets]
        self._room = asyncio.Semaphore(most)
        self._exchanges: dict[int, tuple[Exchange, Departure, float]] = {}
        self._all_answered = asyncio.Event()
        self._begun = self._loop.time()
        self._ended: float | None = None
        self._cpu = (0.0, 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds since the load began, until its last request was due."""
        return (self._ended or self._loop.time()) - self._begun

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._exchanges)

    async def run(
        self, schedule: Iterable[Departure], begun: float, patience: float | None = None
    ) -> None:
        """Send everything and wait for the answers.

        Args:
            begun: When the load begins, by the event loop's clock.
            patience: Seconds to wait for the last answers; None: until all are there.
        """
        self._begun = begun
        step: Step | None = None
        try:
            for departure in schedule:
                if step is not departure.step:
                    self._account(step)
                    if step is not None and self._is_overrun(self.record.steps[step.number]):
                        self._cut()
                        break
                    step, self.reached = departure.step, departure.step.number
                await asyncio.sleep(begun + departure.at - self._loop.time())
                if not await self._depart(departure):
                    self._cut()
                    break
            if self.cut_at is None and math.isfinite(end := self._steps[-1].end):
                await asyncio.sleep(begun + end - self._loop.time())
            self._ended = self._loop.time()
            self._account(step)
            if self._waits or self.cut_at is None:
                await self._answers(patience)
        finally:
            if self._ended is None:
                self._ended = self._loop.time()
                self._account(step)
            self.unanswered = len(self._exchanges)
            for exchange, _, _ in self._exchanges.values():
                exchange.abandon()
            for client in self._clients:
                client.close()

    @property
    def given_up(self) -> list[tuple[Departure, float]]:
        """Requests without an answer, and how late each left, in seconds."""
        return [(departure, late) for _, departure, late in self._exchanges.values()]

    async def _answers(self, patience: float | None) -> None:
        self._all_answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._exchanges:
                    await self._all_answered.wait()

    def _cut(self) -> None:
        self.cut_at = self._loop.time() - self._begun

    async def _depart(self, departure: Departure) -> bool:
        """Send a request, unless it is too late for it; return whether the load goes on."""
        record, end = self.record.steps[departure.step.number], self._begun + departure.step.end
        if self._loop.time() >= end + BEHIND:
            if record.held_back:
                record.held_back += 1
            else:
                record.unsent += 1
            return True
        if self._room.locked():
            if not self._waits:
                return False
            record.held_back += 1
            # What is left of a step that has run over is not sent: it would never end.
            if self._loop.time() >= end:
                return True
        await self._room.acquire()
        self._send(departure)
        return True

    @staticmethod
    def _is_overrun(record: StepRecord) -> bool:
        return record.held_back > 0 or record.unsent > 0

    def _send(self, departure: Departure) -> None:
        number, left = self.sent, self._loop.time()
        self.sent += 1
        late = left - self._begun - departure.at

        def done(response: Response) -> None:
            del self._exchanges[number]
            self._room.release()
            self._add(departure, late, response)
            if not self._exchanges:
                self._all_answered.set()

        client = self._clients[departure.target]
        exchange = client.post(departure.body, done, self._timeout)
        self._exchanges[number] = (exchange, departure, late)

    def _add(self, departure: Departure, late: float, response: Response) -> None:
        now = self._loop.time()
        name = response.headers.get(self._replica_header) if self._replica_header else None
        answer = Answer(
            departure,
            late,
            service=now - self._begun - departure.at - late,
            status=response.status,
            fault=response.fault or self._fault(response),
            upstream=_milliseconds(response.headers.get(UPSTREAM)),
            received=len(response.body),
            replica=name and name[:_NAME],
            connected=response.connected,
        )
        self.record.add(answer, measured_at(self._steps, now - self._begun))
        if self._told is not None:
            self._told(answer)

    def _account(self, step: Step | None) -> None:
        """Note what CPU the step took that ends here."""
        cpu, clock = time.process_time(), self._loop.time()
        if step is not None and clock > self._cpu[1]:
            part = (cpu - self._cpu[0]) / (clock - self._cpu[1])
            self.record.steps[step.number].cpu = part
        self._cpu = (cpu, clock)


def _milliseconds(text: str | None) -> float | None:
    return int(text) / 1000 if text and text.isascii() and text.isdigit() else None
