"""Sends requests when they are due, whatever became of those before.

A client that waited for answers would send less just when replicas are slow, and would not see it
(Gil Tene's "coordinated omission"); so latency counts from when a request was meant to leave.
"""

import asyncio
import time
from random import Random
from typing import Final

import aiohttp

from controlplane.tools.load import faults
from controlplane.tools.load.record import Answer, Record, StepRecord
from controlplane.tools.load.schedule import Departure, Step, measured_at, schedule, turns
from controlplane.tools.load.workload import Workload

UPSTREAM: Final = "x-envoy-upstream-service-time"
"""Milliseconds, in answers that came through an Envoy: from its having the whole request to its
having the answer's headers, so waiting for a connection and further tries are in it."""

CONNECT: Final = 5.0
"""Seconds after which nobody is there: it must be said in the first seconds."""

KEEPALIVE: Final = 4.0
"""Seconds that an idle connection is kept: less than any known server does, because a server that
closes it just as a request leaves looks like a failed request."""

BEHIND: Final = 1.0
"""Seconds after the end of a step at which what is left of it is not sent any more: a process that
does not keep up with a rate would go on with it for ever."""

_HEADERS: Final = {"content-type": "application/json"}
_NAME: Final = 64
"""Characters of a replica's name that are kept."""


class Generator:
    """Sends a workload once.

    Attributes:
        record: What has come of it so far.
        sent: Requests that have left.
        cut: Whether higher rates were left out, because too many requests were in flight or this
            process did not keep up.
        reached: The number of the step that it got to; answers still come in while later ones would
            have been sent.
        unanswered: Requests that were given up when it was stopped.
    """

    def __init__(self, workload: Workload, session: aiohttp.ClientSession) -> None:
        """Send nothing yet."""
        self.record = Record()
        self.sent = 0
        self.cut = False
        self.reached = 0
        self.unanswered = 0
        self._workload = workload
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._timeout = aiohttp.ClientTimeout(total=workload.timeout, sock_connect=CONNECT)
        # Drawn apart from times, so that the same texts are sent at any rate.
        self._random = Random(f"texts {workload.seed}")  # noqa: S311 - decides about no secrets
        self._turns = turns([target.weight for target in workload.targets])
        self._room = asyncio.Semaphore(workload.most)
        self._flying: set[asyncio.Task[None]] = set()
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
        return len(self._flying)

    async def run(self, begun: float) -> None:
        """Send everything and wait for the answers.

        Args:
            begun: When the load begins, by the event loop's clock.
        """
        self._begun = begun
        step: Step | None = None
        try:
            for departure in schedule(self._workload.steps, self._workload.seed):
                if step is not departure.step:
                    self._account(step)
                    if step is not None and self._is_overrun(self.record.steps[step.number]):
                        self.cut = True
                        break
                    step, self.reached = departure.step, departure.step.number
                await asyncio.sleep(self._begun + departure.at - self._loop.time())
                await self._depart(departure)
            if not self.cut:
                await asyncio.sleep(self._begun + self._workload.seconds - self._loop.time())
            self._ended = self._loop.time()
            self._account(step)
            if self._flying:
                await asyncio.wait(self._flying)
        finally:
            if self._ended is None:
                self._ended = self._loop.time()
                self._account(step)
            self.unanswered = len(self._flying)
            for task in self._flying:
                task.cancel()
            await asyncio.gather(*self._flying, return_exceptions=True)

    async def _depart(self, departure: Departure) -> None:
        record = self.record.steps[departure.step.number]
        if self._loop.time() >= self._begun + departure.step.end + BEHIND:
            if record.held_back:
                record.held_back += 1
            else:
                record.unsent += 1
            return
        if self._room.locked():
            record.held_back += 1
            # What is left of a step that has run over is not sent: it would never end.
            if self._loop.time() >= self._begun + departure.step.end:
                return
        await self._room.acquire()
        target = next(self._turns)
        body = self._workload.bodies[target](self._workload.texts.draw(self._random))
        task = asyncio.create_task(self._send(departure, target, body))
        self._flying.add(task)
        task.add_done_callback(self._landed)
        self.sent += 1

    @staticmethod
    def _is_overrun(record: StepRecord) -> bool:
        return record.held_back > 0 or record.unsent > 0

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._room.release()

    async def _send(self, departure: Departure, target: int, body: bytes) -> None:
        left = self._loop.time()
        fault: str | None = None
        upstream: float | None = None
        replica: str | None = None
        received, connected = 0, True
        try:
            async with self._session.post(
                self._workload.targets[target].url,
                data=body,
                headers=_HEADERS,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                received = len(await response.read())
                fault = faults.status(response.status)
                upstream = _milliseconds(response.headers.get(UPSTREAM))
                if self._workload.replica_header:
                    replica = response.headers.get(self._workload.replica_header)
        except faults.RAISED as error:
            fault, connected = faults.kind(error)
        now = self._loop.time()
        answer = Answer(
            step=departure.step,
            target=target,
            due=departure.at,
            late=left - self._begun - departure.at,
            service=now - left,
            upstream=upstream,
            fault=fault,
            sent=len(body),
            received=received,
            replica=replica and replica[:_NAME],
        )
        now_in = measured_at(self._workload.steps, now - self._begun)
        self.record.add(answer, now_in, connected=connected)

    def _account(self, step: Step | None) -> None:
        """Note what CPU the step took that ends here."""
        cpu, clock = time.process_time(), self._loop.time()
        if step is not None and clock > self._cpu[1]:
            part = (cpu - self._cpu[0]) / (clock - self._cpu[1])
            self.record.steps[step.number].cpu = part
        self._cpu = (cpu, clock)


def _milliseconds(text: str | None) -> float | None:
    return int(text) / 1000 if text and text.isascii() and text.isdigit() else None
