"""What all models of servers have in common: speed that changes, a GPU that is shared, memory.

Whoever has a clock passes the time in, and a function that calls back at a later one. Times are
computed, not waited for: a batch begins when the one before it should have ended, so a timer that
fires late delays one answer and nothing behind it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from benchmarks.worlds.memory import Memory

ALONE: Final = 2.0
"""How many times as fast a replica is while the one that shares its GPU has nothing to do. At 2
the two together are never faster than the GPU is, as with CUDA contexts that take turns."""

TAKEN: Final = 200
"""What `Server.admit` says of a request that it will answer. All else are HTTP statuses of errors
that are given at once."""
OVERLOADED: Final = 429
OUT_OF_MEMORY: Final = 500
NOT_READY: Final = 503

Texts = Sequence[int]
"""A request: the number of tokens of each of its texts."""

Answer = Callable[[float], None]
"""Is called when a request is done, with the time at which it was."""


class Handle(Protocol):
    """What can be called off."""

    def cancel(self) -> object:
        """Do not call back."""


CallAt = Callable[[float, Callable[[], None]], Handle]
"""Calls a function at a time."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What a batch takes: `fixed` + `per_token` · tokens / speed, in seconds.

    Attributes:
        fixed: Of each batch, however small; it does not depend on the speed of the GPU.
        per_token: Of each token at speed 1.
    """

    fixed: float
    per_token: float

    def at(self, speed: float) -> "Curve":
        """That of a replica that is so many times as fast."""
        return Curve(self.fixed, self.per_token / speed)

    def seconds(self, tokens: float) -> float:
        """What a batch takes."""
        return self.fixed + self.per_token * tokens


class Server(ABC):
    """A replica.

    Attributes:
        ready: Whether its model is loaded; until then it refuses all requests.
        memory: Of its GPU; None: there is always enough.
        in_flight: Requests that it has taken in and not answered.
        tokens_in_flight: Of their texts.
        answered: Requests so far.
        tokens_answered: Of their texts.
        refused: Requests that it did not take in, by status.
    """

    def __init__(self, call_at: CallAt, memory: Memory | None = None) -> None:
        """Prepare a replica that is idle.

        Args:
            call_at: The clock's.
            memory: Of its GPU.
        """
        self.ready = True
        self.memory = memory
        self.in_flight = 0
        self.tokens_in_flight = 0
        self.answered = 0
        self.tokens_answered = 0
        self.refused: dict[int, int] = {}
        self._call_at = call_at
        # Times as long as the curve says that everything takes at the moment.
        self._slowness = 1.0
        self._partner: Server | None = None
        self._computes = False
        self._busy, self._busy_until = 0.0, 0.0

    @property
    @abstractmethod
    def running(self) -> int:
        """Batches, or requests where there are none, that are computed at the moment."""

    @property
    @abstractmethod
    def hungry(self) -> bool:
        """Whether a request that came now would not wait."""

    @abstractmethod
    def exposition(self, now: float) -> str:
        """What it answers to ``GET /metrics``."""

    @abstractmethod
    def _take(self, now: float, texts: Texts, answer: Answer) -> int:
        """Take a request in that memory allows, or say which status it is refused with."""

    @abstractmethod
    def _stretch(self, at: float, factor: float) -> None:
        """What is left of all that is computed takes so many times as long."""

    def admit(self, now: float, texts: Texts, answer: Answer) -> int:
        """Take a request in, or refuse it; then it gets no answer.

        Args:
            now: Seconds of the clock.
            texts: Its texts' tokens.
            answer: Is called once it is done.

        Returns:
            `TAKEN`, or the status that it is refused with.
        """
        status, tokens = NOT_READY, sum(texts)
        if self.ready:
            status = OUT_OF_MEMORY
            if self.memory is None or self.memory.fits(now, self.tokens_in_flight + tokens):
                self.in_flight += 1
                self.tokens_in_flight += tokens
                status = self._take(now, texts, answer)
                if status == TAKEN:
                    return status
                self.in_flight -= 1
                self.tokens_in_flight -= tokens
        self.refused[status] = self.refused.get(status, 0) + 1
        return status

    def pace(self, at: float, factor: float) -> None:
        """Take so many times as long from now on, for what is left of all that is computed too."""
        self._slowness *= factor
        self._stretch(at, factor)

    def share_with(self, partner: "Server") -> None:
        """Compute on the same GPU as another: each is `ALONE` times as fast while the other idles.

        Call it once for each of the two, while both are idle; the speed given before is that beside
        a busy partner.
        """
        self._partner = partner
        self._slowness /= ALONE

    def busy(self, now: float) -> float:
        """Seconds in which there was something to compute, so far, of all slots together."""
        return self._busy + self.running * max(now - self._busy_until, 0.0)

    def _done(self, end: float, texts: Texts, answer: Answer) -> None:
        self.in_flight -= 1
        tokens = sum(texts)
        self.tokens_in_flight -= tokens
        self.answered += 1
        self.tokens_answered += tokens
        answer(end)

    def _changes(self, at: float) -> None:
        """Count what it was busy until now, before `running` changes."""
        self._busy = self.busy(at)
        self._busy_until = max(at, self._busy_until)

    def _tell_partner(self, at: float) -> None:
        computes = self.running > 0
        if self._partner is not None and computes != self._computes:
            self._partner.pace(at, ALONE if computes else 1 / ALONE)
        self._computes = computes


class OneBatchAtATime(Server):
    """A server whose GPU computes one batch after the other."""

    def __init__(self, curve: Curve, call_at: CallAt, memory: Memory | None = None) -> None:
        """Prepare a replica that is idle.

        Args:
            curve: What a batch takes.
            call_at: The clock's.
            memory: Of its GPU.
        """
        super().__init__(call_at, memory)
        self.curve: Final = curve
        self._began, self._end = 0.0, 0.0
        self._handle: Handle | None = None

    @property
    def running(self) -> int:
        """1 while it computes a batch."""
        return 1 if self._handle is not None else 0

    @property
    def hungry(self) -> bool:
        """Whether there is nothing here."""
        return self.in_flight == 0

    @abstractmethod
    def _ended(self, began: float, end: float) -> None:
        """The batch is done: count it and give answers."""

    @abstractmethod
    def _next(self, at: float) -> None:
        """Begin the next batch if there is anything to compute."""

    def _compute(self, at: float, tokens: float) -> None:
        """Begin a batch of so many tokens."""
        self._changes(at)
        self._began, self._end = at, at + self._slowness * self.curve.seconds(tokens)
        self._handle = self._call_at(self._end, self._over)
        self._tell_partner(at)

    def _over(self) -> None:
        end = self._end
        self._changes(end)
        self._handle = None
        self._ended(self._began, end)
        if self._handle is None:
            self._next(end)
        self._tell_partner(end)

    def _stretch(self, at: float, factor: float) -> None:
        if self._handle is not None and self._end > at:
            self._end = at + (self._end - at) * factor
            self._handle.cancel()
            self._handle = self._call_at(self._end, self._over)
