"""Records made up for tests."""

from controlplane.tools.load.record import Answer, StepRecord
from controlplane.tools.load.schedule import Departure, Step, plan


def step(rate: float = 10.0, number: int = 0) -> Step:
    """A step of 30 s without a warm-up."""
    return plan((rate,) * (number + 1), 0, 30)[number]


def record(
    of: Step,
    *,
    service: float = 0.02,
    last: float | None = None,
    late: float = 0.0,
    upstream: float | None = None,
    failed: int = 0,
    requests: int = 300,
    cpu: float = 0.1,
    tokens: float = 0.0,
) -> StepRecord:
    """A record of requests that are spread evenly over a step.

    Args:
        of: The step.
        service: Seconds that each takes, or the first one where `last` is given.
        last: Seconds that the last one takes; those between follow a line.
        late: Seconds that each leaves late.
        upstream: Seconds of each that Envoy waits.
        failed: How many fail, instead of the first ones being answered.
        requests: How many.
        cpu: That the generator takes.
        tokens: Of each request.
    """
    made = StepRecord(cpu=cpu)
    end = service if last is None else last
    for number in range(requests):
        part = number / requests
        made.add(
            Answer(
                Departure(of.begin + part * (of.end - of.begin), of, tokens=tokens),
                late=late,
                service=service + part * (end - service),
                upstream=upstream,
                fault="status 503" if number < failed else None,
            )
        )
    return made
