"""Looks at the plane and tells the feed what is new."""

from typing import Any, TypeAlias

from controlplane.edges.rest.etags import etag
from controlplane.edges.rest.feed import Feed
from controlplane.edges.rest.views import in_short
from controlplane.fleet import Difference, differences
from controlplane.plane import Plane, ReplicaReport
from controlplane.weighing import Weighing

_State: TypeAlias = tuple[object, ...]


class Watch:
    """Remembers what the plane was like when it looked last."""

    def __init__(self, plane: Plane, feed: Feed, now: float) -> None:
        """Take the plane as it is: what is there already is no change.

        Args:
            plane: To look at.
            feed: Is told what was declared otherwise, and what replicas have become by themselves.
            now: Seconds of the clock that the plane is given.
        """
        self._plane, self._feed = plane, feed
        self._fleet = plane.fleet
        self._weighings: dict[str, Weighing | None] = {
            name: plane.weighing(name) for name in self._fleet.pools
        }
        self._states: dict[tuple[str, str], _State] = {
            (name, id_): _state(plane.report(name, id_, now))
            for name, pool in self._fleet.pools.items()
            for id_ in pool.replicas
        }

    def look(self, now: float) -> None:
        """Say what is new since the last look.

        Args:
            now: Seconds of the clock that the plane is given.
        """
        known, self._fleet = self._fleet, self._plane.fleet
        for found in differences(known, self._fleet):
            if found.is_declared:
                self._tell(found, now)
        for name, pool in self._fleet.pools.items():
            weighing = self._plane.weighing(name)
            if weighing is self._weighings.get(name):
                continue
            self._weighings[name] = weighing
            for id_ in pool.replicas:
                report = self._plane.report(name, id_, now)
                if self._states.get((name, id_)) != (state := _state(report)):
                    self._states[name, id_] = state
                    self._replica("changed", name, id_, report)

    def _tell(self, found: Difference, now: float) -> None:
        name, id_ = found.pool, found.replica
        if id_ is None:
            if found.after is None:
                self._weighings.pop(name, None)
                for key in [key for key in self._states if key[0] == name]:
                    del self._states[key]
            tag = None if found.after is None else etag(found.after)
            self._feed.publish("pool", {"pool": name, "change": found.kind, "etag": tag})
        elif found.after is None:
            self._states.pop((name, id_), None)
            self._replica(found.kind, name, id_, None)
        else:
            report = self._plane.report(name, id_, now)
            self._states[name, id_] = _state(report)
            self._replica(found.kind, name, id_, report)

    def _replica(self, change: str, pool: str, id_: str, report: ReplicaReport | None) -> None:
        data: dict[str, Any] = {"pool": pool, "id": id_, "change": change}
        if report is not None:
            data |= in_short(report)
        self._feed.publish("replica", data)


def _state(report: ReplicaReport) -> _State:
    """What makes an event when it changes; weights alone do so all the time, and make none.

    What is declared, draining included, is told of where it differs.
    """
    weighing = report.weighing
    weighed = None if weighing is None else (weighing.tier, weighing.drained, weighing.stale)
    shown = report.portion is not None
    return (report.observed.readiness.state, shown, weighed)
