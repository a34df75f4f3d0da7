"""Prune first: a sparse model is unlearnt, and stays sparse."""

import torch
from pydantic import Field

from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.saliency import largest
from supreme_core.engine.toolbox.task import Method, UnlearningTask
from supreme_core.engine.training.observer import Frozen
from supreme_core.registry import Params, wrapper


class PruneFirstParams(Params):
    sparsity: float = Field(
        0.95, ge=0, lt=1, description="Part of the weights that is 0 from the beginning on."
    )


@wrapper(paper="arXiv:2304.04934")
def prune_first(method: Method, task: UnlearningTask, params: PruneFirstParams) -> None:
    """Set the smallest weights to 0, then unlearn with what is left (Jia et al. 2023).

    One-shot magnitude pruning: of the entries of all kernels and matrices together, those of least
    |θ|; biases and the weights of norms stay. What is pruned is 0 after each step and at the end.
    The paper prunes while the original is trained, or trains it again after; here the method alone
    makes up for it, so that Original stays the one that all methods begin with.
    """
    weights = [each for each in trainable(task.model) if each.ndim > 1]
    kept = largest([each.detach().abs() for each in weights], 1 - params.sparsity)
    pruned = Frozen(
        weights,
        values=[torch.zeros_like(each, requires_grad=False) for each in weights],
        masks=[~mask for mask in kept],
    )
    pruned.after_step()
    method(task.observed(pruned))
    pruned.after_step()
