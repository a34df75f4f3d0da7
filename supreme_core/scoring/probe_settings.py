"""Settings of the probes that have some. Here and not beside the probes, because the metrics that
read what a probe found have the same settings, and no torch."""

from pydantic import Field

from supreme_core.registry import Params


class NeighbourSettings(Params):
    neighbours: int = Field(5, ge=1, le=1000, description="Training samples that have a vote.")


class ReadoutSettings(Params):
    ridge: float = Field(
        1e-3,
        gt=0,
        description="L2 penalty, in units of the mean variance of a feature times the number of"
        " samples, so that the scale of the features does not matter.",
    )


class RelearningSettings(Params):
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD, without momentum.")
    batch_size: int = Field(64, ge=1, description="Forgotten samples of one step.")
    max_steps: int = Field(200, ge=1, description="Steps after which relearning is given up.")
    every: int = Field(1, ge=1, description="Steps between two looks at the accuracy.")
    tolerance: float = Field(
        0.05, ge=0, lt=1, description="Part of Original's accuracy that may be missing."
    )


class QuantisationSettings(Params):
    bits: int = Field(8, ge=2, le=16, description="Bits of one weight.")
