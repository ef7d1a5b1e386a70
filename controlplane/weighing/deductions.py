"""What is taken off each replica's capacity: for its tail, the objective, errors and GPU memory.

The rules are functions in `trim` and `guard`; here is what they are applied to.
"""

from collections.abc import Collection, Mapping

from controlplane.settings import PoolSettings
from controlplane.weighing import trim
from controlplane.weighing.capacities import Capacities
from controlplane.weighing.explanation import Step
from controlplane.weighing.guard import Guard, by_memory
from controlplane.weighing.replica import ReplicaInput


def adjusted(
    replicas: Mapping[str, ReplicaInput],
    known: Capacities,
    guards: Mapping[str, Guard],
    fresh: Collection[str],
    settings: PoolSettings,
    steps: Mapping[str, list[Step]],
) -> dict[str, float]:
    """Requests per second that count, by id.

    Args:
        replicas: Of the pool, by id.
        known: Their capacities.
        guards: Of their memory, by id.
        fresh: Ids of those that were scraped lately: they say which tail is usual.
        settings: Of the pool.
        steps: Takes what there is to tell, by id.
    """
    usual = trim.usual_shape(window for id_ in fresh if (window := replicas[id_].window))
    found = {}
    for id_, replica in replicas.items():
        value, guard = known.carried[id_], guards[id_]
        if (window := replica.window) is not None:
            told = list[Step | None]()
            value, step = trim.by_tail(window, usual, value)
            told.append(step)
            if settings.objective is not None:
                value, step = trim.by_objective(window, settings.objective.p99, value)
                told.append(step)
            value, step = trim.by_errors(window, known.slots[id_], value)
            told.append(step)
            steps[id_] += [it for it in told if it is not None]
        if guard.cut or guard.fraction is not None:
            value, step = by_memory(guard, replica.memory or settings.memory, value)
            if step is not None:
                steps[id_].append(step)
        found[id_] = value
    return found
