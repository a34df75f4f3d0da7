"""Early stop: end a method as soon as the forget set is forgotten enough."""

from dataclasses import dataclass

from pydantic import Field

from supreme_core.engine.toolbox.task import Method, UnlearningTask
from supreme_core.engine.training.observer import Observer
from supreme_core.registry import Need, Params, wrapper


class EarlyStopParams(Params):
    accuracy: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Accuracy on the forget set at which the method ends; unset: the"
        " accuracy of the same model on validation samples like the forgotten ones.",
    )

    def needs(self) -> tuple[Need, ...]:
        return ("validation",) if self.accuracy is None else ()


@wrapper(paper="arXiv:2312.02052", iterative=True)
def early_stop(method: Method, task: UnlearningTask, params: EarlyStopParams) -> None:
    """End the method after the epoch that brings the accuracy on the forget set to a target.

    The criterion of Cotogni et al. 2023 and others: going on would forget more than a model that
    never saw these samples. What the method would have done after that epoch is left out. Looked at
    after each epoch; a method that never comes to the target runs to its end.
    """
    target = Target(task, params.accuracy)
    try:
        method(task.observed(target))
    except Enough as enough:
        if enough.by is not target:
            raise


class Enough(Exception):
    """The target is reached."""

    def __init__(self, by: "Target") -> None:
        super().__init__()
        self.by = by


@dataclass
class Target(Observer):
    """accuracy: None for that on validation samples."""

    task: UnlearningTask
    accuracy: float | None

    def after_epoch(self) -> None:
        target = self.accuracy
        if target is None:
            assert self.task.forget_validation is not None  # checked before anything is trained
            target = self.task.accuracy(self.task.forget_validation)
        if self.task.accuracy(self.task.forget) <= target:
            raise Enough(self)
