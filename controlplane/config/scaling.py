"""What a user says of how many replicas a pool may have."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from controlplane.config.errors import SettingsError
from controlplane.config.values import Duration, Settings

MOST_REPLICAS = 100_000

Count = Annotated[int, Field(ge=0, le=MOST_REPLICAS)]


class ScalingSettings(Settings):
    """Bounds of the number of replicas that autoscalers are given.

    Attributes:
        min_replicas: At least so many are wanted; 0: none while no requests come.
        max_replicas: At most so many; None: no limit.
        max_utilization: Part of the measured capacity that requests may take at most, even where
            the objective would allow more.
        scale_down_after: Seconds for which fewer replicas must be enough before fewer are wanted.
    """

    min_replicas: Count = 1
    max_replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] | None = None
    max_utilization: Annotated[float, Field(ge=0.1, le=0.95)] = 0.8
    scale_down_after: Duration = 300.0

    @model_validator(mode="after")
    def _min_within_max(self) -> Self:
        if self.max_replicas is not None and self.min_replicas > self.max_replicas:
            raise SettingsError(
                f"{self.min_replicas} is above max_replicas, {self.max_replicas}",
                ("min_replicas",),
            )
        return self
