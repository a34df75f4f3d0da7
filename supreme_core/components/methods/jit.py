"""JiT: flatten the network around the forgotten samples, which needs no other ones."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from supreme_core.engine.images.samples import Batch
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.engine.training.loss import steady
from supreme_core.registry import Params, method


class JitParams(Params):
    epochs: int = Field(1, ge=0, description="Passes over the forget set.")
    lr: float = Field(1e-3, gt=0, description="Learning rate of SGD, which has no momentum.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")
    noises: int = Field(10, ge=1, description="Noisy copies of each image in each step.")
    sigma: float = Field(
        0.1, gt=0, description="σ: standard deviation of the noise on normalised images."
    )


@method(
    paper="arXiv:2402.01401",
    search={"sigma": {"log": [0.01, 2]}, "lr": {"log": [1e-5, 3e-1]}},
    search_for_transformers={"lr": {"log": [1e-3, 3]}},
    search_source="around the authors' values for VGG16, and for vision transformers for a ViT",
)
def jit(task: UnlearningTask, params: JitParams) -> None:
    """Make the output on the forget set insensitive to noise (Foster et al. 2024).

    Loss of a sample: mean over noises of ‖f(x) - f(x')‖₂ / ‖x - x'‖₂, x' = x + ε, ε ~ N(0, σ²), as
    far as a pixel can be so; the noisy side is taken as constant. Noises, σ and the number of the
    rate are those of arXiv:2606.00380. There f(x) is in train mode and f(x') in eval mode, so that
    they differ without any noise; here both are in eval mode. It clips x' to the extremes of the
    batch. It adds up the losses of a batch, and ours takes their mean: its steps are longer by the
    batch size, which a network bears only with BatchNorm in train mode.

    The method is sensitive to σ and the rate, which its authors search for each network. Their code
    has 25 noises, and for whole classes σ = 0.5 and a rate of 3e-4 with VGG16 but σ = 0.8 and 1.5
    with a ViT. Its rates belong to its own steps: losses of a batch are added up, and gradients of
    former steps are never cleared.
    """
    black, white = task.pixel_range

    @steady
    def loss(model: nn.Module, batch: Batch) -> Tensor:
        answer = model(batch.images)
        steepness = torch.zeros(len(batch), device=answer.device)
        for _ in range(params.noises):
            noise = params.sigma * torch.randn_like(batch.images)
            images = (batch.images + noise).clamp(black, white)
            with torch.no_grad():
                noisy = model(images)
            moved = torch.linalg.vector_norm(answer - noisy, dim=1)
            way = torch.linalg.vector_norm(images - batch.images, dim=(1, 2, 3))
            steepness = steepness + moved / torch.where(way > 0, way, 1)
        return steepness / params.noises

    task.fit(
        task.forget,
        name="smoothing",
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=partial(optim.SGD, lr=params.lr),
        loss=loss,
        training=False,
    )
