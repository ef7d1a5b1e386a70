"""From where shares should be to where they are next: most go there a step at a time.

The rule for one share is in `damping`; here is what it is applied to, and what is not slowed down.
"""

from collections.abc import Mapping

from controlplane.weighing import damping
from controlplane.weighing.capacity import Estimate
from controlplane.weighing.explanation import Step
from controlplane.weighing.guard import Guard
from controlplane.weighing.replica import State


def steps_taken(
    targets: Mapping[str, float],
    left: Mapping[str, float],
    prior: Mapping[str, State],
    estimates: Mapping[str, Estimate | None],
    guards: Mapping[str, Guard],
    part: float,
    now: float,
    steps: Mapping[str, list[Step]],
) -> dict[str, float]:
    """Shares relative to the pool's median, by id.

    Args:
        targets: Where they should be, by what replicas can carry.
        left: What the slow start and the veto leave of that.
        prior: What is still known, by id.
        estimates: Of capacities: one that fell just now is followed at once.
        guards: A share stays where it is while its replica is cut.
        part: Of a full step that may be taken, by `damping.rounds`.
        now: Seconds of a monotonic clock.
        steps: Takes what there is to tell, by id.
    """
    shares = {}
    for id_, target in left.items():
        known = prior.get(id_)
        if known is None or known.relative == target:
            shares[id_] = target
            continue
        before = known.relative
        if guards[id_].cut:
            shares[id_] = before
            continue
        estimate = estimates[id_]
        sure = target < targets[id_] or (estimate is not None and estimate.fell(now))
        if sure and target < before:
            shares[id_] = target
            continue
        shares[id_] = damping.damped(before, target, part)
        if (step := damping.damping_step(before, target, shares[id_])) is not None:
            steps[id_].append(step)
    return shares
