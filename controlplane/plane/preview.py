"""What a command would come to: a plane that is thrown away decides as if it were carried out."""

from copy import copy
from dataclasses import dataclass

from controlplane.fleet import Command
from controlplane.plane.observations import Observations
from controlplane.plane.plane import Plane
from controlplane.plane.readiness import Probe
from controlplane.plane.timeline import Timelines
from controlplane.resources.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Preview:
    """What Envoys hold, and what they would be told.

    Attributes:
        held: The catalog as it is.
        wanted: As it would be once every replica that the command puts has become ready.
        pools: The names of the pools whose resources differ.
        unready: Ids of those replicas that Envoys are not told of before they are ready.
    """

    held: Catalog
    wanted: Catalog
    pools: tuple[str, ...]
    unready: tuple[str, ...]


class _Unrecorded(Timelines):
    """Nobody is ever told why what is only imagined came to be; an entry for each replica costs."""

    def record(self, *_: object) -> None:
        """Keep nothing."""


def preview(plane: Plane, command: Command, now: float) -> Preview:
    """Work out what a command would come to; the plane stays as it is.

    Args:
        plane: As it is.
        command: What would be asked.
        now: Seconds of the clock that the plane is given.

    Raises:
        Refused: The command would be.
    """
    imagined = _copied(plane, command.pool, now)
    unready = []
    for found in imagined.apply(command, now):
        target = imagined.target(found.pool, found.replica) if found.replica else None
        if (
            target is not None
            and not imagined.report(target.pool, target.replica.id, now).observed.readiness.is_shown
        ):
            unready.append(target.replica.id)
            imagined.probed(target, Probe.HEALTHY, now)
    held, wanted = plane.catalog, imagined.decide(now, plane._envoys)
    pools = held.pools.keys() | wanted.pools.keys()
    changed = (name for name in pools if held.pools.get(name) is not wanted.pools.get(name))
    return Preview(held, wanted, tuple(sorted(changed)), tuple(unready))


def _copied(plane: Plane, pool: str, now: float) -> Plane:
    """Another plane of the same state in which one pool is about to change.

    What both refer to is never changed in place.
    """
    imagined = Plane(now)
    imagined.fleet, imagined.catalog = plane.fleet, plane.catalog
    imagined._unbuilt = plane._unbuilt.of(pool)
    imagined._observed = Observations((key, copy(it)) for key, it in plane._observed.items())
    imagined._decided, imagined._tables = plane._decided.copy(), plane._tables.copy()
    imagined._traffic, imagined._devices = plane._traffic.copy(), copy(plane._devices)
    imagined.sizes = {pool: sizes.copy() for pool, sizes in plane.sizes.items()}
    imagined._has_decided = True
    imagined.timelines = _Unrecorded()
    return imagined
