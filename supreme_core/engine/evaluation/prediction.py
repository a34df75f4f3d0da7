"""One forward pass of a model over samples: exact numbers, in order, nothing padded or repeated."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from supreme_core.engine.images.samples import Samples
from supreme_core.engine.networks import passes
from supreme_core.engine.networks.modes import in_mode
from supreme_core.engine.ranks.device import EVALUATION_BATCH
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.scoring.evaluation import predicted_classes, share_right


def accuracy(model: nn.Module, samples: Samples, *, classes: int, ranks: Ranks) -> float:
    """The share of samples that the model is right on, the same number on every rank.

    It is what stored predictions say: a sample with a logit that is not finite is wrong, and an
    empty set has NaN.
    """
    logits = predict(model, samples, classes=classes, ranks=ranks)
    return share_right(predicted_classes(logits), samples.labels.cpu().numpy())


def predict(
    model: nn.Module, samples: Samples, *, classes: int, ranks: Ranks
) -> NDArray[np.float32]:
    """(n, classes) float32 logits in the order of `samples`, on every rank."""
    return rows(model, samples, model, width=classes, ranks=ranks).cpu().numpy()


def rows(
    model: nn.Module,
    samples: Samples,
    answer: Callable[[Tensor], Tensor],
    *,
    width: int,
    ranks: Ranks,
) -> Tensor:
    """(n, width) float32 on the device of every rank: what the model answers to images (n, ...).

    It runs in eval mode; its modules keep the modes that they had. The grid of batches does not
    depend on the number of ranks; each rank takes a run of whole batches.
    """
    size = EVALUATION_BATCH[ranks.device.type]
    batches = -(-len(samples) // size)
    borders = [
        min(batches * rank // ranks.size * size, len(samples)) for rank in range(ranks.size + 1)
    ]
    mine = torch.arange(borders[ranks.rank], borders[ranks.rank + 1])
    with in_mode(model, training=False), torch.inference_mode(), passes.shared(ranks):
        answers = [torch.empty((0, width), device=ranks.device)]
        for batch in samples.batches(torch.split(mine, size) if len(mine) else ()):
            answers.append(answer(batch.images).to(torch.float32))
        counts = [after - before for before, after in pairwise(borders)]
        return ranks.gather_rows(torch.cat(answers), counts)
