"""Which replicas of a pool long requests go to: what `sizes` decides by is gathered here."""

from collections.abc import Collection, Mapping
from typing import Final

from controlplane.settings import PoolSettings
from controlplane.weighing import lengths
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.explanation import Step
from controlplane.weighing.fast import Member, Seen
from controlplane.weighing.replica import ReplicaInput, Weighing
from controlplane.weighing.sizes import Sizes, parted, sizes_step

CHECKED: Final = 1.0
"""Seconds after a health check's timeout in which an Envoy has made the first checks of a cluster:
only then can requests go there."""

NONE: Final[Mapping[str, float]] = {}


def members_of(
    replicas: Mapping[str, ReplicaInput],
    known: Capacities,
    shares: Mapping[str, float],
    bands: Mapping[str, int],
    serving: Collection[str],
) -> dict[str, Member]:
    """What is known of the replicas that may get requests.

    Args:
        replicas: Of the pool, by id.
        known: Their capacities.
        shares: What each is to get in the long run, by id.
        bands: Of the tiers of those that do not start slowly, by id.
        serving: Ids of those that may get requests.
    """
    members = {}
    for id_ in serving:
        replica, estimate = replicas[id_], known.estimates[id_]
        window = replica.window
        members[id_] = Member(
            band=bands.get(id_),
            share=shares[id_],
            carries=known.carried[id_],
            slots=known.slots[id_],
            requests=estimate.requests if estimate else 0.0,
            seen=Seen(replica.generation, window.count, window.tokens or 0.0)
            if window is not None and lengths.are_counted(window)
            else None,
            tokens=lengths.lately(window) if window is not None else None,
        )
    return members


def may_divide(pool: PoolSettings) -> bool:
    """Whether a pool's requests may be parted. Where the nearest come first, distance decides."""
    settings = pool.balancing
    return (
        pool.classes is None
        and settings.policy == "capacity-tiers"
        and settings.long_requests != "any-replica"
        and settings.locality != "nearest"
    )


def divided(
    previous: Weighing | None,
    settings: PoolSettings,
    members: Mapping[str, Member],
    leaned: Mapping[str, float],
    steps: Mapping[str, list[Step]],
    now: float,
) -> tuple[Sizes | None, Mapping[str, float]]:
    """Part a pool's requests.

    Args:
        previous: The last weighing.
        settings: Of the pool.
        members: Those that may get requests, by id.
        leaned: What each is to get for the moment, by id: lines come and go, and nothing is
            learned from them, but the short requests are to make up for them.
        steps: Takes what there is to tell, by id.
        now: Seconds of a monotonic clock.

    Returns:
        How requests are parted, None where they are not; and what each of the replicas that get
        the long ones gets of the short ones, of its share.
    """
    if not may_divide(settings):
        return None, NONE
    before = previous.replicas if previous else {}
    told = {id_: float(before[id_].weight) for id_ in members if id_ in before}
    notice = settings.health_check.timeout + CHECKED
    found = parted(previous.sizes if previous else None, members, told, now, notice)
    if found is None:
        return None, NONE
    if not found.is_in_force(now):
        return found, NONE
    part = found.of_short({id_: leaned[id_] for id_ in members}, now)
    for id_ in found.fast:
        steps[id_].append(sizes_step(found, leaned[id_], part))
    return found, dict.fromkeys(found.fast, part)
