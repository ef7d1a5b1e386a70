"""Which replicas of a pool get next to nothing until their lines are served.

The rules for one replica are in `veto`; here is what they are applied to.
"""

from collections.abc import Collection, Mapping

from controlplane.weighing import veto
from controlplane.weighing.explanation import Step
from controlplane.weighing.replica import ReplicaInput, State


def vetoes(
    targets: Mapping[str, float],
    carried: Mapping[str, float],
    slots: Mapping[str, int],
    prior: Mapping[str, State],
    replicas: Mapping[str, ReplicaInput],
    serving: Collection[str],
    oldest: float,
    now: float,
    steps: Mapping[str, list[Step]],
) -> tuple[dict[str, float], dict[str, veto.InFlight]]:
    """Look at every line of a pool.

    Args:
        targets: Where shares should be, relative to the pool's median, by id.
        carried: Requests per second that each can carry.
        slots: Requests that each computes at the same time.
        prior: What is still known.
        replicas: Of the pool.
        serving: Ids of those that may get requests.
        oldest: Counts from before that say nothing about now, seconds of a monotonic clock.
        now: Seconds of the same clock.
        steps: Takes what there is to tell, by id.

    Returns:
        What is left of the targets, and the line to be served of those with a veto.
    """
    counts = {
        id_: count
        for id_ in serving
        if (seen := replicas[id_].in_flight) and (count := veto.most(seen, oldest)) is not None
    }
    usual = veto.usual_wait(counts, carried, slots)
    left = dict(targets)
    found: dict[str, veto.InFlight] = {}
    for id_, count in counts.items():
        before = prior[id_].line if id_ in prior else None
        facts = (carried[id_], slots[id_], usual, targets[id_])
        line = veto.line_to_serve(before, count, *facts, now)
        if line is None:
            continue
        found[id_] = line
        expected = veto.explained(*facts, over=before is not None)
        step = veto.veto_step(count, carried[id_], expected, targets[id_])
        left[id_] = step.after
        steps[id_].append(step)
    return left, found
