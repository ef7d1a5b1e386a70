"""Decisions about the pools of which something new is known."""

from collections.abc import Collection, Mapping

from controlplane import balancing
from controlplane.fleet import Fleet
from controlplane.plane.decided import Decided
from controlplane.plane.gpus import memory_in_use
from controlplane.plane.inputs import Seen
from controlplane.plane.tables import Tables
from controlplane.plane.timeline import Timelines
from controlplane.signals.sizes import RequestSizes


def decide(
    fleet: Fleet,
    due: Mapping[str, Collection[str] | None],
    seen: Seen,
    tables: Tables,
    sizes: Mapping[str, RequestSizes],
    decided: Decided,
    timelines: Timelines,
    envoys: int | None,
    now: float,
) -> None:
    """Decide what replicas get.

    Args:
        fleet: All pools.
        due: Ids of the replicas of which something is new, by pool; None: it may be anything.
        seen: Until now.
        tables: What is known of all replicas; brought up to date first.
        sizes: Of the requests of pools, as far as Envoys tell.
        decided: Takes what each replica is to get.
        timelines: Take why.
        envoys: How many are connected; None where that is not known.
        now: Seconds of a monotonic clock.
    """
    pools, gone = fleet.pools, dict[str, list[str]]()
    for name, some in due.items():
        is_parted = decided.is_parted(name)
        gone[name] = tables.write(pools[name], some, seen, now, is_parted=is_parted)
    gpus = memory_in_use(pools, tables, seen.devices, now)
    for name, ids in gone.items():
        pool, before, table = pools[name], decided.decisions.get(name), tables[name]
        of_pool = sizes.get(name)
        decision = balancing.decide(
            before,
            pool.settings,
            table,
            now,
            gpus=gpus,
            envoys=envoys,
            sizes=of_pool.all if of_pool is not None else None,
            class_sizes=of_pool.by_class if of_pool is not None else None,
            hold=decided.held(name, now),
        )
        changed = decision.changed(before) | decision.marked(before)
        timelines.record(pool, decision, changed, seen)
        shown = {id_: seen.observed[name, id_].readiness.is_shown for id_ in decision.ids(changed)}
        decided.take(pool, decision, shown | dict.fromkeys(ids, False), now)
