"""A weighing whose replicas are read otherwise from now on: what they carry stays known.

Counters of two sources have nothing to do with one another: a difference between them would be
millions of requests in a second. The same holds for what one of them said of memory.
"""

import math
from dataclasses import replace

from controlplane.weighing import record
from controlplane.weighing.capacity import NOTHING_OWED
from controlplane.weighing.guard import Guard
from controlplane.weighing.replica import ReplicaWeighing, State, Weighing


def uncounted(weighing: Weighing) -> Weighing:
    """The same, for readings that begin anew with the next one."""
    replicas = {id_: _replica(it) for id_, it in weighing.replicas.items()}
    sizes = weighing.sizes
    return replace(
        weighing,
        replicas=replicas,
        sizes=replace(sizes, seen={}) if sizes is not None else None,
    )


def _replica(weighed: ReplicaWeighing) -> ReplicaWeighing:
    return weighed._replace(state=_state(weighed.state))


def _state(state: State) -> State:
    estimate, learned = state.estimate, state.learned
    if estimate is not None:
        anew = record.uncounted(estimate.record)
        estimate = replace(estimate, record=anew, owed=NOTHING_OWED)
    if learned is not None:
        # No reading counts as many requests, so the first one is a new beginning.
        learned = replace(learned, since=-math.inf, count=math.inf, total=math.inf)
    return replace(state, estimate=estimate, learned=learned, guard=Guard(), line=None)
