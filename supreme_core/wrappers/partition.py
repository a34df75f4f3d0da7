"""Partition: forget what the model has learnt easily first, and what it memorised last."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from supreme_core import seeds
from supreme_core.engine.prediction import predict
from supreme_core.engine.task import Method, UnlearningTask
from supreme_core.evaluation import Outputs, without_class
from supreme_core.registry import Params, wrapper


class PartitionParams(Params):
    groups: int = Field(
        3, ge=1, le=100, description="k: groups of equal size; at most one a sample."
    )
    proxy: Literal["confidence", "margin", "entropy"] = Field(
        "confidence",
        description="What stands for memorisation: a low probability of the label, a small lead of"
        " its logit over the next one, or a high entropy of the answer.",
    )


@wrapper(paper="arXiv:2406.01257")
def partition(method: Method, task: UnlearningTask, params: PartitionParams) -> None:
    """Unlearn the forget set in groups, one after the other, from low to high memorisation (RUM).

    Zhao et al. 2024, with a proxy of memorisation that the model which is to unlearn tells of
    itself. Every group is forgotten by the same method with random streams of its own. The retain
    set is the same each time: groups that come later are not among it, so that nobody trains on
    what is to be forgotten. The paper also takes another method for each group.
    """
    order = np.argsort(_memorisation(task, params.proxy), kind="stable")
    for number, group in enumerate(np.array_split(order, min(params.groups, len(order)))):
        forget = task.forget.take(torch.from_numpy(np.sort(group)))
        method(replace(task, forget=forget, seed=seeds.derive(task.seed, "group", number)))


def _memorisation(task: UnlearningTask, proxy: str) -> NDArray[np.float64]:
    """(|F|,) higher where a sample is more likely to be memorised."""
    logits = predict(task.model, task.forget, classes=task.shape.classes, ranks=task.ranks)
    return memorisation(logits.astype(np.float64), task.forget.labels.cpu().numpy(), proxy)


def memorisation(
    logits: NDArray[np.float64], labels: NDArray[np.int64], proxy: str
) -> NDArray[np.float64]:
    """(n,) of logits (n, classes)."""
    if proxy == "margin":
        own = logits[np.arange(len(labels)), labels]
        return np.asarray(without_class(logits, labels).max(axis=1) - own)
    outputs = Outputs.of(logits, labels)
    return outputs.loss if proxy == "confidence" else outputs.entropy
