"""JiT: flatten the network around the forgotten samples, which needs no other ones."""

from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn, optim

from supreme_core.engine.samples import Batch
from supreme_core.engine.task import UnlearningTask
from supreme_core.registry import Params, method


class JitParams(Params):
    epochs: int = Field(1, ge=0, description="Passes over the forget set.")
    lr: float = Field(0.064, gt=0, description="Learning rate of SGD, which has no momentum.")
    batch_size: int = Field(64, ge=1, description="Samples of one step.")
    noises: int = Field(10, ge=1, description="Noisy copies of each image in each step.")
    sigma: float = Field(
        0.1, gt=0, description="σ: standard deviation of the noise on normalised images."
    )


@method(paper="arXiv:2402.01401")
def jit(task: UnlearningTask, params: JitParams) -> None:
    """Make the output on the forget set insensitive to noise (Foster et al. 2024).

    Loss of a sample: mean over noises of ‖f(x) - f(x + ε)‖₂ / ‖ε‖₂, ε ~ N(0, σ²); the noisy side is
    taken as constant. Settings are those of arXiv:2606.00380. There f(x) is in train mode and
    f(x + ε) in eval mode, so that they differ without any noise; here both are in eval mode. It
    clips x + ε to the extremes of the batch, ours to what a pixel can be. It adds up the losses of
    a batch and ours takes their mean, so our rate is 64 times its 1e-3. The method is sensitive to
    σ and the rate, which its authors search for each network.
    """
    black, white = task.pixel_range

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        answer = model(batch.images)
        steepness = torch.zeros(len(batch), device=answer.device)
        for _ in range(params.noises):
            noise = params.sigma * torch.randn_like(batch.images)
            with torch.no_grad():
                noisy = model((batch.images + noise).clamp(black, white))
            moved = torch.linalg.vector_norm(answer - noisy, dim=1)
            steepness = steepness + moved / torch.linalg.vector_norm(noise, dim=(1, 2, 3))
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
