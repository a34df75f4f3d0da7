"""A new linear classifier on a model's features."""

import torch
from torch import Tensor

from supreme_core.engine.toolbox.probe_task import ProbeTask
from supreme_core.registry import SetName, probe
from supreme_core.scoring.probe_settings import ReadoutSettings

CHUNK_ROWS = 8192
"""Samples whose features are in memory in float64 at one time."""


@probe(source="Alain and Bengio 2016, arXiv:1610.01644", needs=("linear_head",))
def linear_readout(task: ProbeTask, params: ReadoutSettings) -> dict[str, float]:
    """Accuracy of a ridge classifier on the forgotten samples.

    It is fitted on all training samples, forgotten and retained: least squares from what goes into
    the head to 1 for the label and -1 for each other class, with a bias and an L2 penalty. Each
    forgotten training sample is judged by the classifier that is fitted without it, which has a
    closed form. On forget_test only where there is one.
    """
    forget, retain = (task.subject.features(on) for on in ("forget", "retain"))
    training = torch.cat([forget, retain])
    labels = torch.cat([task.sets["forget"].labels, task.sets["retain"].labels]).to(training.device)
    held_out = task.subject.features("forget_test")
    if not (training.isfinite().all() and held_out.isfinite().all()):
        return {"forget": float("nan"), "forget_test": float("nan")}
    readout = Readout(training, labels, classes=task.shape.classes, ridge=params.ridge)
    answers: dict[SetName, Tensor] = {"forget": readout.without_each(len(forget))}
    if len(held_out):
        answers["forget_test"] = readout(held_out)
    return {
        on: float((each.argmax(dim=1).cpu() == task.sets[on].labels.cpu()).double().mean())
        for on, each in answers.items()
    }


class Readout:
    """Ridge regression from features (n, d) to targets (n, classes) of 1 and -1, in float64.

    w = (XᵀX + λI)⁻¹ XᵀT with X and T centred, λ = ridge · tr(XᵀX) / d.
    """

    def __init__(self, training: Tensor, labels: Tensor, *, classes: int, ridge: float) -> None:
        self._training = training
        of_class = labels[:, None] == torch.arange(classes, device=labels.device)
        self._targets = of_class.double() * 2 - 1
        self._mean = training.double().mean(dim=0)
        self._bias = self._targets.mean(dim=0)
        width = training.shape[1]
        gram = training.new_zeros(width, width, dtype=torch.float64)
        cross = training.new_zeros(width, classes, dtype=torch.float64)
        for rows, targets in zip(
            torch.split(training, CHUNK_ROWS),
            torch.split(self._targets, CHUNK_ROWS),
            strict=True,
        ):
            centred = rows.double() - self._mean
            gram += centred.mT @ centred
            cross += centred.mT @ targets
        self.penalty = ridge * gram.trace() / width
        gram.diagonal().add_(self.penalty)
        self._factor = torch.linalg.cholesky(gram)
        self._weights = torch.cholesky_solve(cross, self._factor)

    def __call__(self, rows: Tensor) -> Tensor:
        """(m, classes)."""
        return (rows.double() - self._mean) @ self._weights + self._bias

    def without_each(self, count: int) -> Tensor:
        """(count, classes) for the first training samples, each from a fit without it.

        The residual of a fit without sample i is that of the whole fit over 1 - h_i, with the
        leverage h_i = 1/n + xᵢᵀ(XᵀX + λI)⁻¹xᵢ; the same λ in all of them.
        """
        rows, targets = self._training[:count], self._targets[:count]
        centred = rows.double() - self._mean
        inner = (centred * torch.cholesky_solve(centred.mT, self._factor).mT).sum(dim=1)
        leverage = inner + 1 / len(self._training)
        return targets - (targets - self(rows)) / (1 - leverage)[:, None]
