"""PRMQ: prune nearly everything, let it begin anew, and repair with the original's entropies."""

import copy
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn, optim
from torch.nn import functional

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.networks.weights import trainable
from supreme_core.engine.toolbox.continued_optimizer import continued
from supreme_core.engine.toolbox.retain_training import RATES_FOR_TRANSFORMERS, RetainParams
from supreme_core.engine.toolbox.saliency import largest
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import steady
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.registry import method


class PrmqParams(RetainParams):
    epochs: float = Field(  # type: ignore[assignment]
        3.2, ge=0, description="Passes over the retain set, the last one in part."
    )
    lr: float = Field(5e-4, gt=0, description="Learning rate of SGD.")
    fraction: float = Field(
        0.99, ge=0, le=1, description="Part of the weights that begins anew, the smallest ones."
    )
    balance: float = Field(
        0.1,
        ge=0,
        description="A class with n retained samples weighs n to the power of minus this.",
    )
    half: bool = Field(True, description="True rounds the weights to 16 bits at the end.")


@method(
    paper="arXiv:2410.01276",
    needs=("retain",),
    search={
        "lr": {"log": [1e-4, 1e-1]},
        "fraction": {"logToOne": [0.5, 0.995]},
        "epochs": {"epochs": [1, 10]},
    },
    search_for_transformers={"lr": {"log": [1e-5, 1e-2]}},
    search_source=(
        "within the ranges of Cadet et al. 2024 (arXiv:2410.01276), the fraction near 1; "
        f"{RATES_FOR_TRANSFORMERS}"
    ),
)
def prmq(task: UnlearningTask, params: PrmqParams) -> None:
    """Renew the smallest weights, then train on the retain set with the original's entropies.

    The fourth entry of the NeurIPS 2023 competition in machine unlearning (prune, retrain, mask,
    quantise), as Cadet et al. 2024 describe it and their code has it. Of all weights and biases of
    convolutions and linear layers together the smallest are taken; weights among them
    are drawn from ±1/√(fan in), biases become 0. Loss of a sample: w_y CE + (H(softmax(z)) -
    H(softmax(z_o)))², z_o the original's logits and H the entropy. The w_y have mean 1 over the
    retain set, where that code divides by their mean over the batch: so a sample's loss does not
    depend on which others are in its step. All settings are that code's, which takes one step more.
    """
    original = copy.deepcopy(task.model).eval().requires_grad_(False)
    weights = _class_weights(task, params.balance)
    _begin_anew(task, params.fraction)

    @steady
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch.images)
        with torch.no_grad():
            aim = entropies(original(batch.images))
        right = functional.cross_entropy(logits, batch.labels, reduction="none")
        return weights[batch.labels] * right + (entropies(logits) - aim) ** 2

    sgd = optim.SGD(
        trainable(task.model),
        lr=params.lr,
        momentum=params.momentum,
        weight_decay=params.weight_decay,
    )
    optimizer, size = continued(sgd), params.batch_size
    in_full, steps = _steps(len(task.retain), size, params.epochs)
    plain = shuffled(len(task.retain), size)

    def first_steps(epoch: int, seed: int) -> Sequence[Tensor]:
        return plain(epoch, seed)[:steps]

    task.fit(
        task.retain,
        name="repair",
        epochs=in_full,
        batch_size=size,
        optimizer=optimizer,
        loss=loss,
    )
    if steps:
        task.fit(
            task.retain,
            name="last steps",
            epochs=1,
            batch_size=size,
            optimizer=optimizer,
            loss=loss,
            order=first_steps,
        )
    if params.half:
        _round(task.model)


def entropies(logits: Tensor) -> Tensor:
    """(n,) of the softmax, in nats."""
    log_probabilities = logits.log_softmax(dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


def _steps(samples: int, batch_size: int, epochs: float) -> tuple[int, int]:
    """Whole passes, and steps of one more."""
    in_one = -(-samples // batch_size)
    return divmod(int(in_one * epochs + 1e-9), in_one)


def _class_weights(task: UnlearningTask, balance: float) -> Tensor:
    """(classes,) with mean 1 over the retained samples."""
    counts = task.retain.labels.cpu().bincount(minlength=task.shape.classes).double()
    weights = counts.clamp(min=1) ** -balance
    mean = (weights * counts).sum() / counts.sum()
    return (weights / mean).to(next(task.model.parameters()))


@torch.no_grad()
def _begin_anew(task: UnlearningTask, fraction: float) -> None:
    layers = [
        (name, module)
        for name, module in task.model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad
    ]
    tensors = [
        (f"{name}.{kind}", tensor)
        for name, module in layers
        for kind, tensor in (("weight", module.weight), ("bias", module.bias))
        if tensor is not None
    ]
    kept = largest([tensor.abs() for _, tensor in tensors], 1 - fraction)
    for (name, tensor), mask in zip(tensors, kept, strict=True):
        fresh = torch.zeros(tensor.shape)
        if tensor.ndim > 1:
            bound = tensor[0].numel() ** -0.5
            drawn = torch.rand(tensor.shape, generator=task.generator("weights", name))
            fresh = bound * (2 * drawn - 1)
        tensor.copy_(torch.where(mask, tensor, fresh.to(tensor)))


@torch.no_grad()
def _round(model: nn.Module) -> None:
    """Every weight and buffer becomes a number of half precision."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
