"""No change of the learning rate."""

from supreme_core.registry import NoParams, schedule


@schedule()
def constant(epoch: float, epochs: int, params: NoParams) -> float:
    """The learning rate stays as it is."""
    return 1.0
