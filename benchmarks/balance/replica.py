"""A simulated replica: requests wait for slots, take time, and fill memory. No I/O and no clock.

Whoever has a clock passes the time in, and a function that calls back at a later one. Times are
computed, not waited for: the next request begins when the one before it should have ended, so a
timer that fires late delays one answer and nothing behind it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from benchmarks.balance.memory import Memory
from benchmarks.balance.scenario import ALONE


class Handle(Protocol):
    """What can be called off."""

    def cancel(self) -> object:
        """Do not call back."""


CallAt = Callable[[float, Callable[[], None]], Handle]
"""Calls a function at a time."""


@dataclass(slots=True)
class Job:
    """A request that is queued or computed.

    Attributes:
        tokens: Of its text.
        arrived: When it came.
        answer: Called once it is done.
        done: When it will be, once it has begun.
        handle: Calls off what waits for that.
    """

    tokens: int
    arrived: float
    answer: Callable[[], None]
    done: float = 0.0
    handle: Handle | None = None


class Replica:
    """First come, first served by the slot that is free first."""

    def __init__(
        self,
        slots: int,
        token_seconds: float,
        call_at: CallAt,
        observe: Callable[[float], None],
        memory: Memory | None = None,
    ) -> None:
        """Prepare a replica that is idle.

        Args:
            slots: Requests that it computes at the same time.
            token_seconds: Service time of one token.
            call_at: The clock's.
            observe: Is told the seconds that each request took here.
            memory: Of its GPU; None: there is always enough.
        """
        self.slots: Final = slots
        self.memory = memory
        self.completed = 0
        self.completed_tokens = 0
        self.out_of_memory = 0
        self._token_seconds = token_seconds
        self._call_at = call_at
        self._observe = observe
        self._running: list[Job] = []
        self._waiting: deque[Job] = deque()
        self._tokens = 0
        self._busy, self._busy_until = 0.0, 0.0
        self._partner: Replica | None = None
        self._computes = False

    @property
    def queue(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    def share_with(self, partner: "Replica") -> None:
        """Compute on the same GPU as another: each is `ALONE` times as fast while the other idles.

        Call it once for each of the two, while both are idle; the service time given before is
        that beside a busy partner.
        """
        self._partner = partner
        self._token_seconds /= ALONE

    def busy(self, now: float) -> float:
        """Seconds of all slots in which there was something to compute, so far."""
        return self._busy + len(self._running) * max(now - self._busy_until, 0.0)

    def admit(self, now: float, tokens: int, answer: Callable[[], None]) -> bool:
        """Take a request in; False when memory does not allow it, and `answer` is never called."""
        if self.memory is not None and not self.memory.fits(now, self._tokens + tokens):
            self.out_of_memory += 1
            return False
        self._tokens += tokens
        job = Job(tokens, now, answer)
        if len(self._running) < self.slots:
            self._begin(now, job)
        else:
            self._waiting.append(job)
        return True

    def pace(self, at: float, factor: float) -> None:
        """Take so many times as long from now on, for what is left of every request too."""
        self._token_seconds *= factor
        for job in self._running:
            if job.done > at:
                job.done = at + (job.done - at) * factor
                assert job.handle is not None
                job.handle.cancel()
                self._wake(job)

    def _begin(self, at: float, job: Job) -> None:
        self._count_busy(at)
        self._running.append(job)
        job.done = at + job.tokens * self._token_seconds
        self._wake(job)
        self._tell_partner(at)

    def _wake(self, job: Job) -> None:
        job.handle = self._call_at(job.done, lambda: self._end(job))

    def _end(self, job: Job) -> None:
        self._count_busy(job.done)
        self._running.remove(job)
        self._tokens -= job.tokens
        self.completed += 1
        self.completed_tokens += job.tokens
        self._observe(job.done - job.arrived)
        job.answer()
        if self._waiting:
            # A request may have come after the slot was free and before the timer said so.
            following = self._waiting.popleft()
            self._begin(max(job.done, following.arrived), following)
        self._tell_partner(job.done)

    def _tell_partner(self, at: float) -> None:
        computes = bool(self._running)
        if self._partner is not None and computes != self._computes:
            self._partner.pace(at, ALONE if computes else 1 / ALONE)
        self._computes = computes

    def _count_busy(self, at: float) -> None:
        self._busy = self.busy(at)
        self._busy_until = max(at, self._busy_until)
