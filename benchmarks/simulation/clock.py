"""Simulated time: calls back in the order of time, as fast as it can."""

import heapq
from collections.abc import Callable
from math import inf


class Alarm:
    """Something that is to be called."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not call it."""
        self.call = None


class Clock:
    """Calls what is due, in order, as far as it is wound.

    Attributes:
        now: Seconds after the begin of the load.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._order = 0
        self._alarms: list[tuple[float, int, Alarm]] = []

    def call_at(self, at: float, call: Callable[[], None]) -> Alarm:
        """Call a function at a time; of those at the same time the first first."""
        alarm = Alarm(call)
        self._order += 1
        heapq.heappush(self._alarms, (at, self._order, alarm))
        return alarm

    def every(self, seconds: float, until: float, call: Callable[[], None]) -> None:
        """Call a function now and again and again until some time."""

        def again() -> None:
            if self.now < until:
                call()
                self.call_at(self.now + seconds, again)

        self.call_at(self.now, again)

    def wind(self, to: float = inf) -> None:
        """Let time pass; without a time, until nothing is to be called any more."""
        alarms, pop = self._alarms, heapq.heappop
        while alarms and alarms[0][0] <= to:
            at, _, alarm = pop(alarms)
            if (call := alarm.call) is not None:
                self.now = at
                call()
        if to < inf:
            self.now = to
