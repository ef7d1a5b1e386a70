"""What was seen of one replica: its readiness, its readings, and why the last scrape failed."""

import math
from dataclasses import dataclass, field

from controlplane.fleet import Draining, Replica
from controlplane.plane.readiness import Probe, Readiness, State
from controlplane.settings import ReplicaSettings
from controlplane.signals import History, Reading, Window
from controlplane.weighing import OWN, InFlight, ReplicaInput


@dataclass(frozen=True, slots=True)
class Failure:
    """A scrape that yielded no reading.

    Attributes:
        sentence: Why, for an operator.
        refused: Whether nobody listened at the address.
    """

    sentence: str
    refused: bool = False


@dataclass(slots=True)
class Observed:
    """Everything seen of one generation of a replica.

    Attributes:
        generation: The fleet's, of the replica this was seen of.
        readiness: Whether Envoy may know of it.
        history: Its readings.
        window: The newest; None before the first good scrape.
        scraped_at: When the last good scrape was, seconds of a monotonic clock.
        failure: Why the last scrape failed; None when it was good.
        recalled_at: When what was known of it before a restart was taken up; None where nothing
            was. Until there is a scrape, what is known is taken to be of then.
        told: What `unmeasured` has said last, and what it was said of.
    """

    generation: int
    readiness: Readiness
    history: History = field(default_factory=History)
    window: Window | None = None
    scraped_at: float | None = None
    failure: str | None = None
    recalled_at: float | None = None
    told: tuple[ReplicaSettings, Draining | None, Readiness, ReplicaInput] | None = None

    @classmethod
    def fresh(cls, generation: int, since: float) -> "Observed":
        """Nothing seen yet of a replica that is there since some time."""
        return cls(generation, Readiness(State.STARTING, since))

    @property
    def lifetime(self) -> int:
        """Differs between any two processes that were ever seen under one id."""
        return self.generation << 32 | self.history.generation

    def age(self, now: float) -> float | None:
        """Seconds for which what is known of it has not been renewed; None: nothing is known."""
        at = self.recalled_at if self.scraped_at is None else self.scraped_at
        return None if at is None else now - at

    def in_flight(self, slots: int | None) -> tuple[InFlight, ...]:
        """Its requests in flight, by everyone who counts them.

        Args:
            slots: As declared; where requests wait, so many are being computed.
        """
        if self.window is None or self.window.queue is None:
            return ()
        waiting = self.window.queue
        computed = float(slots or 1) if waiting else 0.0
        return (InFlight(OWN, waiting + computed, self.window.at),)

    def unmeasured(self, replica: Replica) -> ReplicaInput:
        """What a weighing is told as long as nothing is measured of it; the same while it is.

        Args:
            replica: As it is declared.
        """
        settings, draining, readiness = replica.settings, replica.draining, self.readiness
        told = self.told
        if (
            told is None
            or told[0] is not settings
            or told[1] is not draining
            or told[2] is not readiness
        ):
            found = ReplicaInput(
                id=replica.id,
                slots=settings.slots,
                generation=self.lifetime,
                memory=settings.memory,
                gpu_uuid=settings.gpu.uuid if settings.gpu else None,
                ready=readiness.is_shown and draining is None,
                ready_since=readiness.ready_since,
            )
            told = self.told = (settings, draining, readiness, found)
        return told[3]

    def record(self, outcome: Reading | Failure, now: float) -> None:
        """Take in a scrape."""
        if isinstance(outcome, Failure):
            self.failure = outcome.sentence
            if outcome.refused:
                self.readiness = self.readiness.after(Probe.REFUSED, now)
            return
        before = self.history.generation
        self.window = self.history.add(outcome)
        self.scraped_at = now
        self.failure = None
        if self.history.generation != before:
            self.readiness = self.readiness.restarted(now)

    def recall(self, now: float, *, was_shown: bool, was_measured: bool) -> None:
        """Take up what was known of it before a restart of ours.

        Args:
            now: Seconds of a monotonic clock.
            was_shown: Whether Envoys know of it; then they judge it until we have asked.
            was_measured: Whether anything is known of what it can carry.
        """
        if was_shown:
            self.readiness = Readiness(State.GONE, -math.inf)
        if was_measured:
            self.recalled_at = now

    def forget_readings(self) -> None:
        """Begin anew with measuring: the pool's metrics are other ones, or none, from now on."""
        self.history = History(self.history.generation)
        self.window, self.scraped_at, self.failure = None, None, None
        self.recalled_at = None

    def probed(self, probe: Probe, now: float) -> bool:
        """Take in the answer to a health probe; returns whether its state is another one now."""
        before, self.readiness = self.readiness, self.readiness.after(probe, now)
        return self.readiness.state is not before.state
