"""Looks at the plane and says what is new: to the audit log what was declared, to the feed all."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from controlplane.edges.rest.audit import AuditLog
from controlplane.edges.rest.etags import declared, etag
from controlplane.edges.rest.feed import Feed
from controlplane.edges.rest.views import in_short
from controlplane.fleet import Difference, differences
from controlplane.plane import Plane, ReplicaReport
from controlplane.weighing import Weighing

CONTROL_PLANE: Final = "control plane"
"""Who changes what nobody asked for, such as a replica whose lease ran out."""

Named: TypeAlias = tuple[str, str | None]
"""A pool by its name, or a replica by the pool's name and its id."""


class Watch:
    """Remembers what the plane was like when it looked last."""

    def __init__(self, plane: Plane, audit: AuditLog, feed: Feed) -> None:
        """Take the plane as it is: what is there already is no change.

        Args:
            plane: To look at.
            audit: Is told what was declared otherwise, and by whom.
            feed: Is told that, and what has become of replicas by themselves.
        """
        self._plane, self._audit, self._feed = plane, audit, feed
        self._fleet = plane.fleet
        self._claims: dict[Named, list[str]] = {}
        self._weighings: dict[str, Weighing | None] = {
            name: plane.weighing(name) for name in self._fleet.pools
        }
        self._states = {
            (name, id_): state for name in self._fleet.pools for id_, state in plane.outlines(name)
        }

    @contextmanager
    def claimed(self, who: str, names: Collection[Named]) -> Iterator[None]:
        """While this is open, whatever changes of these is the doing of somebody.

        A change may wait for the disk, together with others, and be seen by anyone who looks.

        Args:
            who: Asks for the change.
            names: Of what is to be changed.
        """
        for name in names:
            self._claims.setdefault(name, []).append(who)
        try:
            yield
        finally:
            for name in names:
                self._claims[name].remove(who)
                if not self._claims[name]:
                    del self._claims[name]

    def look(self, who: str, now: float) -> None:
        """Say what is new since the last look.

        Args:
            who: Has changed what was declared otherwise since then and nobody has claimed.
            now: Seconds of the clock that the plane is given.
        """
        known, self._fleet = self._fleet, self._plane.fleet
        for found in differences(known, self._fleet):
            if _is_hidden(found):
                continue
            claims = self._claims.get((found.pool, found.replica), (who,))
            self._audit.record(claims[-1], found)
            self._tell(found, now)
        for name in self._fleet.pools:
            weighing = self._plane.weighing(name)
            if weighing is self._weighings.get(name):
                continue
            self._weighings[name] = weighing
            # Weights alone change all the time, and make no event.
            for id_, state in self._plane.outlines(name):
                if self._states.get((name, id_)) != state:
                    self._states[name, id_] = state
                    self._replica("changed", name, id_, self._plane.report(name, id_, now))

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
            self._states[name, id_] = report.outline
            self._replica(found.kind, name, id_, report)

    def _replica(self, change: str, pool: str, id_: str, report: ReplicaReport | None) -> None:
        data: dict[str, Any] = {"pool": pool, "id": id_, "change": change}
        if report is not None:
            data |= in_short(report)
        self._feed.publish("replica", data)


def _is_hidden(found: Difference) -> bool:
    """Whether all that is declared comes to the same: who has said what of it is another one."""
    before, after = found.before, found.after
    return before is not None and after is not None and declared(before) == declared(after)
