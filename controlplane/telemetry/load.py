"""What Envoys report of their own requests to each replica, added up over all Envoys.

It is there for replicas that expose no metrics at all, and it comes sooner than any latency: what
is in flight is counted when it begins, not when it ends. In come the reports of each Envoy, out
come a `Window` and the requests in flight of each endpoint.
"""

import math
from collections import deque
from collections.abc import Generator, Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from controlplane.telemetry.consensus import (
    FEW,
    MEMORY,
    Consensus,
    Reporter,
    part_failed,
)
from controlplane.telemetry.sizes import Arrivals
from controlplane.telemetry.window import ENOUGH, LONGEST, WINDOW, Window

T = TypeVar("T")

SHORTEST: Final = 0.05
"""Seconds that a report covers at least, and a window that tells a rate; the first report of a
stream covers none."""
STEP: Final = 0.5
"""Seconds between two points of what is kept, however many reports come in between."""
LATELY: Final = 4.0
"""Seconds over which failures are counted: a replica that begins to fail is noticed in two."""
FORGOTTEN: Final = 3.0
"""Reports that an Envoy may miss until its last one does not count any more."""

INTERVAL: Final = 0.1
"""Seconds between two reports of an Envoy, at least: each is one look at what is in flight, and of
a queue that comes and goes within a second ten looks say much more than two."""

REPORTS: Final = 100.0
"""Reports a second of all Envoys together. Each repeats the 60 kB that an Envoy says of itself: so
many are 6 MB a second."""

ENDPOINTS: Final = 5000.0
"""Endpoints a second in all reports together: to take one in costs some 20 microseconds."""


def report_interval(envoys: int, endpoints: int) -> float:
    """Seconds between two reports of each Envoy that has so many endpoints to report of."""
    return max(INTERVAL, envoys / REPORTS, envoys * endpoints / ENDPOINTS)


NO_CLASSES: Final[Mapping[str, "Load"]] = MappingProxyType({})


class Endpoint(NamedTuple):
    """A replica as Envoy knows it."""

    pool: str
    host: str
    port: int


class InLocality(NamedTuple):
    """Replicas of a cluster in one place and sub-zone, of which gRPC clients report together."""

    cluster: str
    region: str
    zone: str
    sub_zone: str


class Load(NamedTuple):
    """Requests of one Envoy or gRPC client to one endpoint.

    Attributes:
        succeeded: Ended well since the report before.
        failed: Ended with an error of the server or not at all, since the report before.
        in_progress: Have not ended yet.
        classes: Of them those of each class of requests that has a name, by it.
        is_own: Whether they were counted for this endpoint, and are not an even part of what was
            counted for several. Then nobody knows which of these has failed.
        issued: Sent since the report before; infinite: nobody counted.
    """

    succeeded: float
    failed: float
    in_progress: float
    classes: Mapping[str, "Load"] = NO_CLASSES
    is_own: bool = True
    issued: float = math.inf

    def plus(self, other: "Load", class_name: str) -> "Load":
        """Add what came through the cluster of a class; the default class has no name."""
        classes = self.classes
        if class_name:
            known = classes.get(class_name, NOTHING)
            classes = {**classes, class_name: known.plus(other, "")}
        return Load(
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.in_progress + other.in_progress,
            classes,
            self.is_own and other.is_own,
            self.issued + other.issued,
        )

    def part(self, of: int) -> "Load":
        """An even part of what was counted for so many endpoints together."""
        return Load(
            self.succeeded / of,
            self.failed / of,
            self.in_progress / of,
            {name: load.part(of) for name, load in self.classes.items()},
            is_own=of == 1,
            issued=self.issued / of,
        )

    def without_refused(
        self, in_progress: float, of_classes: Mapping[str, float] = MappingProxyType({})
    ) -> "Load":
        """Leave out the failures of requests that were never sent: no connection could be opened.

        Envoy sends them elsewhere, and its health check sees that nobody listens. A replica that
        restarts has done nothing wrong.

        Args:
            in_progress: Requests in progress in the report before.
            of_classes: The same by class.
        """
        classes = {
            name: load.without_refused(of_classes.get(name, 0.0))
            for name, load in self.classes.items()
        }
        ended = self.issued + in_progress - self.in_progress - self.succeeded
        least = sum(load.failed for load in classes.values())
        return self._replace(failed=min(self.failed, max(ended, least)), classes=classes)


NOTHING: Final = Load(0, 0, 0, issued=0)


class ClassLoad(NamedTuple):
    """Requests of one class to one endpoint, of all Envoys since the endpoint is known."""

    succeeded: float
    failed: float
    in_flight: float


class Failing(NamedTuple):
    """How a replica's requests ended lately.

    Attributes:
        part: Of them that failed, 0 to 1, as at least half of the Envoys see it that use it.
    """

    part: float
    requests: float


class _Point(NamedTuple):
    at: float
    done: float
    failed: float
    busy: float
    looks: float


@dataclass(slots=True)
class _Held:
    """The counts from which windows are made."""

    done: float = 0.0
    failed: float = 0.0
    busy: float = 0.0
    in_flight: float = 0.0


@dataclass(slots=True)
class _Total:
    """One endpoint, over all Envoys."""

    reporters: dict[Hashable, Reporter] = field(default_factory=dict)
    done: float = 0
    failed: float = 0
    # What ended well and what did not, of each class that has a name.
    classes: dict[str, tuple[float, float]] = field(default_factory=dict)
    # Times that all its Envoys looked at that.
    looks: float = 0.0
    in_flight: float = 0.0
    at: float = -math.inf
    answered_at: float = -math.inf
    points: deque[_Point] = field(default_factory=deque)
    # As far as each reporter is believed where shares are worked out; see `_held`.
    held: _Held = field(default_factory=_Held)


class LoadReports:
    """All that is known from reports, of endpoints that some Envoy reports of."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self._totals: dict[Endpoint, _Total] = {}

    def copy(self) -> "LoadReports":
        """The same, for whoever only reads and forgets: reports are taken in by one of the two."""
        other = LoadReports()
        other._totals = dict(self._totals)
        other.arrivals = self.arrivals.copy()
        return other

    def record(
        self, reporter: Hashable, loads: Mapping[Endpoint, Load], seconds: float, now: float
    ) -> list[Endpoint]:
        """Take in a report; see `recording`."""
        return drained(self.recording(reporter, loads, seconds, now))

    def recording(
        self, reporter: Hashable, loads: Mapping[Endpoint, Load], seconds: float, now: float
    ) -> Generator[None, None, list[Endpoint]]:
        """Take in a report, and yield after each endpoint: there may be very many.

        Args:
            reporter: The same object in each report of one Envoy.
            loads: An endpoint that is left out has had no request.
        """
        idle = [
            endpoint
            for endpoint, total in self._totals.items()
            if endpoint not in loads and reporter in total.reporters
        ]
        for endpoint in idle:
            # It may have been forgotten since.
            if (total := self._totals.get(endpoint)) is not None:
                self._count(endpoint, total, reporter, NOTHING)
                self._take(total, reporter, NOTHING, seconds, now)
            yield
        for endpoint, load in loads.items():
            total = self._totals.setdefault(endpoint, _Total())
            known = total.reporters.get(reporter, Reporter())
            sent = load.without_refused(known.in_progress, known.of_classes)
            self._count(endpoint, total, reporter, sent)
            self._take(total, reporter, sent, seconds, now)
            yield
        return [*loads, *idle]

    def gone(self, reporter: Hashable, now: float) -> list[Endpoint]:
        """Forget what an Envoy had in flight that has left; returns the endpoints it told of."""
        return drained(self.going(reporter, now))

    def going(self, reporter: Hashable, now: float) -> Generator[None, None, list[Endpoint]]:
        """The same, and yield after each endpoint."""
        found = []
        self.arrivals.left(reporter)
        for endpoint, total in [*self._totals.items()]:
            if total.reporters.pop(reporter, None):
                found.append(endpoint)
                _advance(total, now)
                consensus = Consensus(_recent(total, now))
                total.in_flight = consensus.in_flight()
                total.held.in_flight = consensus.held_in_flight()
            if not total.reporters and self._totals.get(endpoint) is total:
                del self._totals[endpoint]
            yield
        return found

    def forget(self, endpoint: Endpoint) -> None:
        """There is nobody at an endpoint any more."""
        self._totals.pop(endpoint, None)

    def endpoints(self) -> frozenset[Endpoint]:
        return frozenset(self._totals)

    def in_flight(self, endpoint: Endpoint, now: float) -> float | None:
        """Requests that all Envoys together have at a replica; None when none reports of it."""
        total = self._totals.get(endpoint)
        if total is None or not any(now <= reporter.until for reporter in total.reporters.values()):
            return None
        return Consensus(_recent(total, now)).in_flight()

    def held_in_flight(self, endpoint: Endpoint, now: float) -> float | None:
        """The same as far as each Envoy is believed where shares are worked out; see `window`."""
        total = self._totals.get(endpoint)
        if total is None or not (recent := _recent(total, now)):
            return None
        return Consensus(recent).held_in_flight()

    def failing(self, endpoint: Endpoint, now: float) -> Failing | None:
        """What became of a replica's requests lately; None where no Envoy had one.

        An Envoy that alone sees a replica fail may be at fault itself, or lie: of two the one
        counts that sees fewer failures, of many the one in the middle.
        """
        total = self._totals.get(endpoint)
        recent = _recent(total, now) if total is not None else []
        if (part := part_failed(recent)) is None:
            return None
        return Failing(part, sum(window.ended for window in recent))

    def by_class(self, endpoint: Endpoint, now: float) -> dict[str, ClassLoad]:
        """What all Envoys together count of each class at a replica, by the class's name.

        What belongs to no class that has a name is there under the empty one. Together they are
        what `in_flight` says, and what has ended; nothing where no Envoy reports.
        """
        total = self._totals.get(endpoint)
        if total is None:
            return {}
        by_name = dict.fromkeys(total.classes, 0.0)
        others = 0.0
        for reporter, believed in Consensus(_recent(total, now)).counted():
            others += believed
            for name, count in reporter.of_classes.items():
                part = believed * count / reporter.in_progress
                by_name[name] += part
                others -= part
        found = {
            name: ClassLoad(*total.classes[name], in_progress)
            for name, in_progress in by_name.items()
        }
        done = total.done - sum(class_load.succeeded for class_load in found.values())
        failed = total.failed - sum(class_load.failed for class_load in found.values())
        return found | {"": ClassLoad(done, failed, max(others, 0.0))}

    def ended(self, endpoint: Endpoint) -> tuple[float, float] | None:
        """What all Envoys have sent to a replica that ended well, and otherwise, so far."""
        total = self._totals.get(endpoint)
        return None if total is None else (total.done, total.failed)

    def answered_at(self, endpoint: Endpoint) -> float:
        """When an Envoy reported last of a request that a replica answered; long ago if none."""
        total = self._totals.get(endpoint)
        return -math.inf if total is None else total.answered_at

    def window(self, endpoint: Endpoint) -> Window | None:
        """What a replica did in the last seconds, as far as Envoys can tell.

        Mean latency is what was in flight over what ended per second (Little's law), so it has the
        time on the way in it; percentiles cannot be known. Of three Envoys and more one that
        counts far more than is usual among them counts as the average of the others.
        """
        total = self._totals.get(endpoint)
        if total is None or not total.points:
            return None
        last = total.points[-1]
        first = next(
            (
                point
                for point in reversed(total.points)
                if last.at - point.at >= WINDOW and last.done - point.done >= ENOUGH
            ),
            total.points[0],
        )
        seconds = last.at - first.at
        samples, failed = last.done - first.done, last.failed - first.failed
        # The first reports of two Envoys may be as close as the clock can tell.
        known = seconds >= SHORTEST
        in_flight = (last.busy - first.busy) / seconds if known else 0.0
        rate = samples / seconds if known else 0.0
        return Window(
            at=last.at,
            seconds=seconds,
            samples=samples,
            errors=failed,
            rate=rate,
            latency=in_flight / rate if rate > 0 else None,
            p99=None,
            resolution="ok",
            in_flight=in_flight,
            error_fraction=failed / (samples + failed) if failed else 0.0,
            count=float(last.done),
            total=last.busy,
            looks=last.looks,
        )

    def _count(self, endpoint: Endpoint, total: _Total, reporter: Hashable, load: Load) -> None:
        """Count what has been sent since the report before, by class."""
        known = total.reporters.get(reporter, Reporter())
        sent = {
            name: _sent(load.classes.get(name, NOTHING), known.of_classes.get(name, 0))
            for name in load.classes.keys() | known.of_classes.keys()
        }
        others = _sent(load, known.in_progress) - sum(sent.values())
        self.arrivals.sent(endpoint.pool, reporter, sent | {"": others})

    def _take(
        self, total: _Total, reporter: Hashable, load: Load, seconds: float, now: float
    ) -> None:
        _advance(total, now)
        known = total.reporters.setdefault(reporter, Reporter())
        ended = load.succeeded + load.failed
        covered = max(seconds, SHORTEST)
        keep = math.exp(-covered / MEMORY)
        known.rate = keep * known.rate + (1 - keep) * ended / covered
        known.busy = keep * known.busy + (1 - keep) * load.in_progress
        keep = math.exp(-covered / LATELY)
        known.ended = keep * known.ended + ended * load.is_own
        known.failed = keep * known.failed + load.failed * load.is_own
        known.in_progress = load.in_progress
        known.until = now + FORGOTTEN * max(seconds, 1.0)
        if load.succeeded and load.is_own:
            total.answered_at = now
        total.done += load.succeeded
        total.failed += load.failed
        known.of_classes = {
            name: request_class.in_progress
            for name, request_class in load.classes.items()
            if request_class[2]
        }
        for name, class_load in load.classes.items():
            done, failed = total.classes.get(name, (0, 0))
            total.classes[name] = (done + class_load.succeeded, failed + class_load.failed)
        total.looks += 1 / len(total.reporters)
        recent = _recent(total, now)
        consensus = Consensus(recent)
        total.in_flight = consensus.in_flight()
        believed = consensus.part_held(known) * ended
        part = part_failed(recent) if len(recent) >= FEW else None
        if part is None:
            part = load.failed / ended if ended else 0.0
        total.held.done += believed * (1 - part)
        total.held.failed += believed * part
        total.held.in_flight = consensus.held_in_flight()
        _keep(total, now)


def _sent(load: Load, in_progress: float) -> float:
    """Requests that were sent since a report in which so many were in progress."""
    return load.succeeded + load.failed + load.in_progress - in_progress


def drained(pieces: Generator[None, None, T]) -> T:
    """Do all pieces of something, one after the other, and return what comes of it."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            found: T = end.value
            return found


def _keep(total: _Total, now: float) -> None:
    """Add a point where the last one is long enough ago; what came at once is one point."""
    points = total.points
    while len(points) > 2 and points[1].at <= now - LONGEST:
        points.popleft()
    if points and points[-1].at >= now:
        points.pop()
    if not points or now - points[-1].at >= STEP:
        held = total.held
        points.append(_Point(now, held.done, held.failed, held.busy, total.looks))


def _advance(total: _Total, now: float) -> None:
    """Count what was in flight since the last report."""
    if total.at > -math.inf:
        total.held.busy += total.held.in_flight * max(now - total.at, 0.0)
    total.at = max(total.at, now)


def _recent(total: _Total, now: float) -> list[Reporter]:
    return [reporter for reporter in total.reporters.values() if now <= reporter.until]
