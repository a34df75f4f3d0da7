"""Boundary expand: send forgotten samples to a class that does not exist, then drop that class."""

import torch
from pydantic import Field
from torch import nn

from supreme_core.engine.toolbox.forget_training import ForgetParams, train_on_forget
from supreme_core.engine.toolbox.head import linear_head, replace_head
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.registry import method


class BoundaryExpandParams(ForgetParams):
    epochs: int = Field(10, ge=0, description="Passes over the forget set.")
    lr: float = Field(1e-4, gt=0, description="Learning rate of SGD.")


@method(
    paper="arXiv:2303.11570",
    needs=("linear_head",),
    iterative=False,
    search={"lr": {"log": [1e-7, 1e-3]}, "epochs": {"int": [1, 20]}},
    search_source="rates from Fan et al. 2024 (arXiv:2403.07362), appendix B.1",
)
def boundary_expand(task: UnlearningTask, params: BoundaryExpandParams) -> None:
    """Train the forget set into a new shadow class, then remove that class (Chen et al. 2023).

    The head gets one more output, with torch's usual random weights for a linear layer. The rate in
    the authors' code is 1e-5, without weight decay; the paper has rates up to 1e-4.
    """
    head = linear_head(task.model)
    wide = _with_shadow_class(task, head)
    replace_head(task.model, wide)
    try:
        shadow = torch.full_like(task.forget.labels, head.out_features)
        train_on_forget(task, params, cross_entropy, task.forget.with_labels(shadow))
    finally:
        replace_head(task.model, head)
    with torch.no_grad():
        head.weight.copy_(wide.weight[:-1])
        if head.bias is not None:
            head.bias.copy_(wide.bias[:-1])


def _with_shadow_class(task: UnlearningTask, head: nn.Linear) -> nn.Linear:
    """The head with one more row."""
    kind = {"device": head.weight.device, "dtype": head.weight.dtype}
    wide = nn.Linear(
        head.in_features, head.out_features + 1, bias=head.bias is not None, **kind
    ).train(head.training)
    generator = task.generator("shadow class")
    bound = head.in_features**-0.5
    with torch.no_grad():
        for mine, old in ((wide.weight, head.weight), (wide.bias, head.bias)):
            if old is not None:
                row = torch.rand(old.shape[1:], generator=generator) * 2 - 1
                mine.copy_(torch.cat([old, (bound * row)[None].to(**kind)]))
    return wide
