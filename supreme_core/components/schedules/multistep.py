"""Steps down at given epochs."""

from typing import Annotated

from pydantic import Field

from supreme_core.registry import Params, schedule


class MultistepParams(Params):
    milestones: list[Annotated[int, Field(ge=1)]] = Field(
        max_length=100, description="Epochs after which the rate is multiplied by gamma."
    )
    gamma: float = Field(0.1, gt=0, le=1, description="Factor of each step.")


@schedule()
def multistep(epoch: float, epochs: int, params: MultistepParams) -> float:
    """The learning rate is multiplied by gamma once each milestone has passed."""
    return params.gamma ** sum(milestone <= epoch for milestone in params.milestones)
