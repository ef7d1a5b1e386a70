"""Publish events for what was declared and for what weighing has changed.

The log has a line for what an operator acts on: a replica that is gone, cut or cannot be scraped.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from controlplane.api.answers import etag
from controlplane.api.events import Feed
from controlplane.api.views import in_short, parting_view
from controlplane.fleet import Change
from controlplane.plane import Plane, ReplicaReport, State
from controlplane.plane.state import ReplicaSummary
from controlplane.resources.classes import Parting

_log = logging.getLogger(__name__)


class Watch:
    """Remembers the plane's replicas and classes as they were last published."""

    def __init__(self, plane: Plane, feed: Feed) -> None:
        """Start from the present plane; only later changes are published."""
        self._plane, self._feed = plane, feed
        self._dirty = plane.follow()
        pools = plane.fleet.pools
        self._states = {
            (name, id_): state for name in pools for id_, state in plane.summaries(name)
        }
        self._partings = {name: _routed(plane.parting(name)) for name in pools}

    def changed(self, changes: Iterable[Change], now: float) -> None:
        """Publish changes of the fleet that the plane has just taken; `now`: its clock."""
        for change in changes:
            if change.is_declared:
                self._declared(change, now)

    def looking(self, now: float) -> Iterator[None]:
        """Publish what weighing has changed since the last look; yield after each replica."""
        for name, ids in self._dirty.taken().items():
            # Weights alone change all the time, and make no event.
            if name not in self._plane.fleet.pools:
                continue
            for id_, state in self._plane.summaries(name, None if ids is None else sorted(ids)):
                if (before := self._states.get((name, id_))) != state:
                    for report in self._plane.reports(name, (id_,), now):
                        self._states[name, id_] = state
                        if before is not None:
                            _log_replica(name, report, before)
                        self._replica("changed", name, id_, report)
                yield
            if name in self._plane.fleet.pools:
                self._parting(name)

    def _declared(self, change: Change, now: float) -> None:
        name, id_ = change.pool, change.replica
        if id_ is None:
            if change.after is None:
                self._partings.pop(name, None)
                for key in [key for key in self._states if key[0] == name]:
                    del self._states[key]
            tag = None if change.after is None else etag(change.after)
            self._feed.publish("pool", {"pool": name, "change": change.kind, "etag": tag})
        elif change.after is None:
            self._states.pop((name, id_), None)
            self._replica(change.kind, name, id_, None)
        elif (pool := self._plane.fleet.pools.get(name)) is not None and id_ in pool.replicas:
            # Otherwise a later change, published next, has removed it.
            report = self._plane.report(name, id_, now)
            self._states[name, id_] = report.summary
            self._replica(change.kind, name, id_, report)

    def _parting(self, name: str) -> None:
        known, parting = self._partings.get(name), _routed(self._plane.parting(name))
        if _is_same(parting, known):
            return
        self._partings[name] = parting
        view = parting_view(self._plane.fleet.pool(name), self._plane.decision(name), parting)
        change = "ended" if parting is None else "begun" if known is None else "changed"
        # Of a large pool the ids alone would be most of what is kept of all events.
        classes = {each["name"]: len(each["replicas"]) for each in view["parting"] or ()}
        data = {"pool": name, "change": change, "classes": classes}
        self._feed.publish("parting", data | {"reasons": view["parting_reasons"]})
        if change != "changed":
            how = "go by class now" if parting is not None else "do not go by class any more"
            _log.info("pool %s: requests %s: %s", name, how, " ".join(view["parting_reasons"]))

    def _replica(self, change: str, pool: str, id_: str, report: ReplicaReport | None) -> None:
        data: dict[str, Any] = {"pool": pool, "id": id_, "change": change}
        if report is not None:
            data |= in_short(report)
        self._feed.publish("replica", data)


def _log_replica(pool: str, report: ReplicaReport, before: ReplicaSummary) -> None:
    """Log what has become of a replica, if an operator has to know."""
    now, replica = report.summary, report.replica
    name = f"{pool}/{replica.id}"
    if now.state != before.state:
        if now.state is State.GONE:
            address = replica.settings.address
            _log.warning("%s is gone: nobody listens at %s, or another process", name, address)
        elif now.state is State.UNHEALTHY:
            _log.warning("%s is unhealthy: its health check fails", name)
        else:
            _log.info("%s is %s", name, "ready" if now.state is State.READY else "starting")
    if now.cut and not before.cut:
        _log.warning("%s gets nothing: the memory of its GPU is full", name)
    elif before.cut and not now.cut:
        _log.info("%s gets requests again: the memory of its GPU has room", name)
    if now.stale and not before.stale:
        failure = report.observed.failure or "its readings are too old"
        _log.warning("%s cannot be scraped: %s", name, failure)
    elif before.stale and not now.stale:
        _log.info("%s is scraped again", name)


def _routed(parting: Parting | None) -> Parting | None:
    """The classes that requests go by; None where no route leads to any class."""
    if parting is None or not any(each.routed for each in parting.named):
        return None
    return Parting(tuple(each for each in parting.classes if each.routed))


def _is_same(one: Parting | None, other: Parting | None) -> bool:
    """Whether the same requests go to the same replicas; weights alone change all the time."""
    if one is None or other is None or len(one.classes) != len(other.classes):
        return one is other
    return all(
        (now.name, now.match) == (then.name, then.match)
        and now.endpoint_weights.keys() == then.endpoint_weights.keys()
        for now, then in zip(one.classes, other.classes, strict=True)
    )
