"""A clock that a test winds, with what waits for it."""

import heapq
from collections.abc import Callable
from itertools import count


class Alarm:
    """Something that is to be called."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Clock:
    """Calls what is due, in order, as far as it is wound."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = count()
        self._alarms: list[tuple[float, int, Alarm]] = []

    def call_at(self, at: float, call: Callable[[], None]) -> Alarm:
        alarm = Alarm(call)
        heapq.heappush(self._alarms, (at, next(self._order), alarm))
        return alarm

    def wind(self, to: float) -> None:
        while self._alarms and self._alarms[0][0] <= to:
            self.now, _, alarm = heapq.heappop(self._alarms)
            if alarm.call is not None:
                alarm.call()
        self.now = to
