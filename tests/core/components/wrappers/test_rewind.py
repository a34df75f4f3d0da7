"""Rewind against a training for each number of epochs, of which the nearest error is taken."""

import numpy as np
import pytest
import torch

from supreme_core.components.methods.finetune import FinetuneParams, finetune
from supreme_core.components.methods.neg_grad import NegGradParams, neg_grad
from supreme_core.components.wrappers.rewind import nearest, rewind
from supreme_core.engine.toolbox.task import UnlearningTask
from supreme_core.errors import MethodFailed
from supreme_core.registry import NoParams
from tests.builders import digest, tiny_task, tiny_validation
from tests.core.components.wrappers.inside import task_of


def error(task, samples):
    """The share of wrong answers, by torch alone."""
    batch = samples.batch(torch.arange(len(samples)))
    answers = task.model.eval()(batch.images).argmax(dim=1)
    return (answers != batch.labels).double().mean().item()


@pytest.mark.parametrize(
    ("lr", "epochs", "label", "place"), [(5e-4, 6, 1, 4), (5e-4, 6, 3, 3), (1e-4, 4, 1, 3)]
)
def test_it_is_the_epoch_whose_error_is_nearest_to_that_of_unseen_samples(lr, epochs, label, place):
    """`label`: of the unseen samples; with another one the error to be reached is another."""

    def unseen():
        samples = tiny_validation()
        alike = samples.take((samples.labels == label).nonzero().flatten())
        return tiny_task(validation=samples, forget_validation=alike)

    def method(n):
        return lambda task: neg_grad(task, NegGradParams(epochs=n, lr=lr, batch_size=4))

    alone = [unseen() for _ in range(epochs)]
    for n, task in enumerate(alone, start=1):
        method(n)(task)
    target = error(alone[-1], alone[-1].forget_validation)
    errors = [error(task, task.forget) for task in alone]
    expected = int(np.argmin(np.abs(np.array(errors) - target)))

    assert expected == place
    task = unseen()
    rewind(method(epochs), task, NoParams())
    assert digest(task.model) == digest(alone[expected].model)


def test_of_equally_near_epochs_it_is_the_first():
    assert nearest([0.0, 0.25, 0.75, 0.25], 0.5) == 1
    assert nearest([0.9, 0.2], 0.2) == 1


def test_without_an_epoch_there_is_nothing_to_go_back_to():
    with pytest.raises(MethodFailed, match="rewind saw no epoch"):
        rewind(lambda task: finetune(task, FinetuneParams(epochs=0)), task_of(), NoParams())


def test_its_looks_at_the_model_cost_nothing(monkeypatch):
    task, looks, accuracy = task_of(), [], UnlearningTask.accuracy
    meter = task.checkpoints.meter

    def looked(task, samples):
        before = meter.so_far()
        found = accuracy(task, samples)
        looks.append(meter.so_far() == before)
        return found

    monkeypatch.setattr(UnlearningTask, "accuracy", looked)
    with meter.measured():
        rewind(lambda task: finetune(task, FinetuneParams(epochs=2)), task, NoParams())
    assert looks == [True] * 3  # after each epoch, and at unseen samples in the end
