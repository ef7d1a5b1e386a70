"""What was seen of one replica: its readiness, its readings, and why the last scrape failed."""

from dataclasses import dataclass, field

from controlplane.plane.readiness import Probe, Readiness, State
from controlplane.signals import History, Reading, Window
from controlplane.weighing import InFlight


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
    """

    generation: int
    readiness: Readiness
    history: History = field(default_factory=History)
    window: Window | None = None
    scraped_at: float | None = None
    failure: str | None = None
    recalled_at: float | None = None

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
        return (InFlight("queue", waiting + computed, self.window.at),)

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

    def forget_readings(self) -> None:
        """Begin anew with measuring: the pool's metrics are other ones, or none, from now on."""
        self.history = History()
        self.window, self.scraped_at, self.failure = None, None, None
        self.recalled_at = None

    def probed(self, probe: Probe, now: float) -> None:
        """Take in the answer to a health probe."""
        self.readiness = self.readiness.after(probe, now)
