"""placeholder"""

from controlplane.balancing.decision import Decision
from controlplane.balancing.sentences import Step


def steps_of(decision: Decision, row: int) -> tuple[Step, ...]:
    return ()
