"""Wrong labels for what is to be forgotten."""

import torch
from torch import Tensor

from supreme_core.engine.toolbox.task import UnlearningTask


def wrong_labels(task: UnlearningTask, *address: str | int) -> Tensor:
    """(|F|,) uniform over the classes that stay: all but the true one, if no class goes as a whole.

    Where several classes are forgotten, a label of another one of them would teach it anew. Where a
    part of a class is, its label stays valid for its siblings, but is the one to be unlearnt here.
    address: of the draw.
    """
    generator = task.generator(*address)
    count, classes = len(task.forget), task.shape.classes
    if task.forget_classes:
        allowed = torch.tensor([c for c in range(classes) if c not in task.forget_classes])
        return allowed[torch.randint(len(allowed), (count,), generator=generator)]
    shifts = torch.randint(1, classes, (count,), generator=generator)
    return (task.forget.labels.cpu() + shifts) % classes


def without_forgotten(task: UnlearningTask, logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (n, classes) with -inf for each sample's label and for the forgotten classes."""
    hidden = task.is_forgotten_class.expand(logits.shape).clone()
    hidden.scatter_(1, labels[:, None], True)
    return logits.masked_fill(hidden, float("-inf"))
