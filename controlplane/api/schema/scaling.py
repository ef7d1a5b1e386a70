"""How many replicas a pool should have, as the control plane answers it."""

from controlplane.api.schema.answers import Answer


class ClassScaling(Answer):
    """What one class of requests needs; capacity and load are in tokens per second."""

    name: str
    tokens: float
    """That come now."""
    forecast_tokens: float
    """That are to be expected by the time a new replica serves, or were lately; the larger."""
    backlog_tokens: float
    """That there must be capacity for, so that waiting requests are worked off; 0: none wait."""
    present: int
    """Replicas that the present load needs."""
    replicas: int
    """Replicas that it should have."""
    utilization: float | None = None
    """Part of the capacity of these that the forecast takes; None where nothing is measured."""
    p99_ms: float | None = None
    """Predicted with them."""
    objective_ms: float | None = None
    """Of the p99; None where none is promised."""
    reachable: bool
    """Whether any number of replicas keeps the objective."""


class Scaling(Answer):
    """How many replicas a pool should have, and why."""

    pool: str
    replicas: int
    """That the pool should have; what an autoscaler sets."""
    current: int
    """That serve, are about to, or are drained or cut."""
    present: int
    """That the present load needs."""
    active: bool
    """Whether requests come, or the pool may never be empty."""
    removable: tuple[str, ...]
    """Ids of replicas that may go, the first to go first. The others carry the load."""
    typical_capacity_tokens: float | None = None
    """Tokens per second of the median replica, as which a new one counts; None: not measured."""
    cold_start_s: float
    """Seconds from wanting a replica to one that serves."""
    cold_starts: int
    """How many starts that was learned from; 0: it is an assumption."""
    classes: tuple[ClassScaling, ...]
    reasons: tuple[str, ...]
    """Why, in sentences."""
