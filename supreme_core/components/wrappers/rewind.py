"""Rewind: unlearn to the end, then go back to the epoch that forgot as much as it should."""

from dataclasses import dataclass

import torch

from supreme_core.engine.toolbox.task import Method, UnlearningTask
from supreme_core.engine.training.observer import Observer
from supreme_core.engine.training.selection import copied, load_copied
from supreme_core.errors import MethodFailed
from supreme_core.registry import NoParams, wrapper


@wrapper(paper="arXiv:2302.09880", iterative=True, needs=("validation",))
def rewind(method: Method, task: UnlearningTask, params: NoParams) -> None:
    """Go back to the epoch whose forget error is nearest to that of unseen samples (Kurmanji).

    The error to be reached is the one of the finished model on validation samples that are like the
    forgotten ones; the epoch of the method with the nearest error on the forget set is taken, the
    first of equally near ones. The weights after each epoch stay in memory until then. Around
    `scrub` it is the SCRUB+R of Kurmanji et al. 2023.
    """
    epochs = EveryEpoch(task)
    method(task.observed(epochs))
    if not epochs.errors:
        raise MethodFailed("rewind saw no epoch that it could go back to")
    assert task.forget_validation is not None  # what a wrapper needs is checked before
    with task.checkpoints.meter.paused():  # as the looks after each epoch are
        target = 1 - task.accuracy(task.forget_validation)
    epochs.restore(nearest(epochs.errors, target))


@dataclass
class EveryEpoch(Observer):
    """Keeps the weights after each epoch, and the error on the forget set."""

    task: UnlearningTask

    def after_epoch(self) -> None:
        number = len(self.errors)
        error = 1 - self.task.accuracy(self.task.forget)
        self.memory[f"error/{number}"] = torch.tensor(error, dtype=torch.float64)
        self.memory |= copied(f"weights/{number}", self.task.model)

    @property
    def errors(self) -> list[float]:
        """Errors of the epochs so far."""
        found = {name for name in self.memory if name.startswith("error/")}
        return [float(self.memory[f"error/{number}"]) for number in range(len(found))]

    def restore(self, number: int) -> None:
        load_copied(self.task.model, f"weights/{number}", self.memory)


def nearest(errors: list[float], target: float) -> int:
    """The place of the error that is nearest to the target, the first of equally near ones."""
    return min(range(len(errors)), key=lambda number: abs(errors[number] - target))
