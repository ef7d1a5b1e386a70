"""From where on GPU memory in use matters, as a user says it of a pool or of one replica."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from controlplane.config.values import Settings


class MemorySettings(Settings):
    """GPU memory in use, as a fraction, from where on a replica gets less and gets nothing."""

    soft: Annotated[float, Field(gt=0, lt=1)] = 0.90
    hard: Annotated[float, Field(gt=0, le=1)] = 0.97

    @model_validator(mode="after")
    def _soft_below_hard(self) -> Self:
        if self.soft >= self.hard:
            raise ValueError(f"soft {self.soft:g} must be below hard {self.hard:g}")
        return self
