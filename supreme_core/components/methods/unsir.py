"""UNSIR: learn noise that is the opposite of a class, train it in to impair, then repair."""

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, optim
from torch.nn import functional

from supreme_core.engine.images.randomness import kept_global_generator, seed_generators
from supreme_core.engine.images.samples import Samples, TensorSource
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.batch_norm import single_values
from supreme_core.errors import MethodFailed
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from supreme_core.registry import Params, method


class UnsirParams(Params):
    LATER: ClassVar = ("noise_mode",)

    noise_steps: int = Field(25, ge=0, description="Steps in which the noise of a class is learnt.")
    noise_size: int = Field(32, ge=1, description="Noise images of each forgotten class.")
    noise_lr: float = Field(0.1, gt=0, description="Learning rate of Adam for the noise.")
    noise_mode: Literal["eval", "train"] = Field(
        "eval",
        description="Mode of the model while noise is learnt: eval, where nothing of it changes, or"
        " train, as in the authors' code, where BatchNorm takes its statistics of the noise.",
    )
    penalty: float = Field(
        0.1, ge=0, description="Weight of a noise image's squared length beside its cross-entropy."
    )
    copies: int = Field(80, ge=1, description="Times that each noise image stands in impair data.")
    retain_per_class: int = Field(
        500, ge=1, description="Most retained samples of each class, drawn once at random."
    )
    impair_epochs: int = Field(1, ge=0, description="Passes over noise and retained samples.")
    impair_lr: float = Field(1e-4, gt=0, description="Learning rate of Adam while impairing.")
    impair_batch_size: int = Field(32, ge=1, description="Samples of one impairing step.")
    repair_epochs: int = Field(1, ge=0, description="Passes over the retained samples alone.")
    repair_lr: float = Field(1e-4, gt=0, description="Learning rate of Adam while repairing.")
    repair_batch_size: int = Field(128, ge=1, description="Samples of one repairing step.")


@method(
    paper="arXiv:2111.08947",
    forgets=("classes",),
    needs=("retain",),
    search={
        "impairLr": {"log": [1e-5, 2e-2]},
        "repairLr": {"log": [1e-5, 2e-2]},
        "impairEpochs": {"epochs": [1, 3]},
        "repairEpochs": {"epochs": [1, 3]},
    },
    search_source=("rates between those of the paper and of Foster et al. 2024 (arXiv:2308.07707)"),
)
def unsir(task: UnlearningTask, params: UnsirParams) -> None:
    """Impair the forgotten classes with error-maximising noise, then repair on retained samples.

    Tarun et al. 2023. Settings are those of arXiv:2606.00380, but the retained samples of a class
    are drawn at random where that takes its first ones. The noise is learnt by every rank for
    itself: the same steps on the same numbers, so the same bits everywhere.

    Where only a part of a class is forgotten the noise is that of the whole class, since the model
    knows no other, and what is retained of the class takes part in both phases.

    Both notebooks of the authors, and the code of Foster et al. 2024, learn the noise with the
    model in train mode, where arXiv:2606.00380 has eval mode: `noiseMode: train`. The running
    statistics of BatchNorm then move towards those of noise before anything is trained. All of them
    impair with as many of the noise images as an image has channels. The first notebook, for
    CIFAR-10, has 40 steps, 256 noise images of a class, 20 copies, 1000 retained samples of a
    class, rates of 0.02 and 0.01, and batches of 256. The others add the gradients of the noise's
    losses to the first impairing step; here they are left out.
    """
    noise = _noise(task, params)
    retained = _retained(task, params.retain_per_class)
    task.fit(
        noise.join(retained),
        name="impair",
        epochs=params.impair_epochs,
        batch_size=params.impair_batch_size,
        optimizer=partial(optim.Adam, lr=params.impair_lr),
    )
    task.fit(
        retained,
        name="repair",
        epochs=params.repair_epochs,
        batch_size=params.repair_batch_size,
        optimizer=partial(optim.Adam, lr=params.repair_lr),
    )


def _noise(task: UnlearningTask, params: UnsirParams) -> Samples:
    """The noise of all impaired classes, labelled with them, each image `copies` times."""
    impaired = task.forget_classes or tuple(sorted(set(task.forget.labels.tolist())))
    images = [_learn_noise(task, params, impaired, place) for place in range(len(impaired))]
    classes = torch.tensor(impaired, device=task.device)
    labels = classes.repeat_interleave(params.noise_size)
    ids = torch.arange(len(labels))
    once = Samples(TensorSource(torch.cat(images)), ids, labels)
    return once.take(ids.repeat(params.copies))


def _learn_noise(
    task: UnlearningTask, params: UnsirParams, impaired: tuple[int, ...], place: int
) -> Tensor:
    """Normalised images (noise_size, channels, size, size) that the model calls anything else.

    Minimises -CE(model(z), class) + penalty · mean over images of ‖z‖² from z ~ N(0, 1).
    """
    target = impaired[place]
    size = (params.noise_size, task.shape.channels, task.shape.size, task.shape.size)
    drawn = torch.randn(size, generator=task.generator("noise", target))
    noise = drawn.to(task.device).requires_grad_()
    labels = torch.full((params.noise_size,), target, device=task.device)
    optimizer = optim.Adam([noise], lr=params.noise_lr)
    with (
        in_mode(task.model, training=params.noise_mode == "train"),
        kept_global_generator(task.device),
        single_values(allowed=False),
    ):
        for step in range(params.noise_steps):
            # Dropout takes no generator.
            dropout = streams.derive(task.seed, "noise", target, "dropout", step)
            seed_generators(dropout, task.device)
            length = noise.square().sum(dim=(1, 2, 3)).mean()
            loss = params.penalty * length - functional.cross_entropy(task.model(noise), labels)
            (noise.grad,) = torch.autograd.grad(loss, [noise])
            optimizer.step()
            task.report(
                done=place * params.noise_steps + step + 1,
                total=len(impaired) * params.noise_steps,
                loss=loss.detach(),
                images=params.noise_size,
            )
    if not noise.isfinite().all():
        raise MethodFailed(f"the noise of class {target} is not finite")
    return noise.detach()


def _retained(task: UnlearningTask, per_class: int) -> Samples:
    """Take at most `per_class` retained samples of each class that is not forgotten."""
    labels = task.retain.labels.cpu()
    chosen = []
    for label in range(task.shape.classes):
        if label not in task.forget_classes:
            members = (labels == label).nonzero().flatten()
            order = permutation(streams.derive(task.seed, "retain subset", label), len(members))
            chosen.append(members[torch.from_numpy(order[:per_class])])
    return task.retain.take(torch.cat(chosen))
