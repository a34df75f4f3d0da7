"""A vote of the nearest training samples in the space of features."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from supreme_core.engine.toolbox.probe_task import ProbeTask
from supreme_core.registry import SetName, probe
from supreme_core.scoring.probe_settings import NeighbourSettings

CHUNK_ELEMENTS = 2**24
"""Similarities that are in memory at one time, 128 MiB."""


@probe(source="Kim et al. 2025, arXiv:2503.06991", needs=("linear_head",))
def nearest_neighbours(task: ProbeTask, params: NeighbourSettings) -> dict[str, float]:
    """Accuracy of k nearest neighbours on the forgotten samples.

    Neighbours are training samples, forgotten and retained, by cosine similarity of what goes into
    the head. Each has one vote; of classes with as many votes the one with the lower number wins.
    A forgotten training sample is no neighbour of its own. On forget_test only where there is one.
    """
    forget, retain = (task.subject.features(on) for on in ("forget", "retain"))
    training = torch.cat([forget, retain])
    labels = torch.cat([task.sets["forget"].labels, task.sets["retain"].labels]).to(training.device)
    held_out = task.subject.features("forget_test")
    if not (training.isfinite().all() and held_out.isfinite().all()):
        return {"forget": float("nan"), "forget_test": float("nan")}
    ask = partial(votes, training, labels, neighbours=params.neighbours)
    answers: dict[SetName, Tensor] = {"forget": ask(forget, own=True)}
    if len(held_out):
        answers["forget_test"] = ask(held_out)
    return {
        on: float((each.cpu() == task.sets[on].labels.cpu()).double().mean())
        for on, each in answers.items()
    }


def votes(
    training: Tensor, labels: Tensor, asked: Tensor, *, neighbours: int, own: bool = False
) -> Tensor:
    """(m,) classes, of features (m, d) by those of training samples (n, d) with labels (n,).

    own: those that are asked about are the first training samples, and none votes for itself.
    """
    directions = functional.normalize(training.double(), dim=1)
    count = min(neighbours, len(training) - own)
    classes = torch.arange(int(labels.max()) + 1, device=labels.device)
    answers = [labels[:0]]
    start = 0
    for rows in torch.split(asked.double(), max(1, CHUNK_ELEMENTS // len(training))):
        similarity = functional.normalize(rows, dim=1) @ directions.mT
        if own:
            here = torch.arange(len(rows), device=rows.device)
            similarity[here, here + start] = -torch.inf
        nearest = labels[similarity.topk(count, dim=1).indices]
        answers.append((nearest[:, :, None] == classes).sum(dim=1).argmax(dim=1))
        start += len(rows)
    return torch.cat(answers)
