"""DELETE's target by hand: the original's probabilities without those of what is forgotten."""

import numpy as np
import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.delete import DeleteParams, delete
from tests.builders import RecordingTask, tiny_network, tiny_task


def distilled(classes, **params):
    """The task, and the loss of its one phase."""
    task = tiny_task(kind=RecordingTask, forget_classes=classes)
    delete(task, parse(DeleteParams, params))
    return task, task.phases["forget"][1]["loss"]


@pytest.mark.parametrize("classes", [(), (1,), (0, 3)], ids=str)
def test_loss_is_the_divergence_from_the_renormalised_answers_of_the_original(classes):
    task, loss = distilled(classes)
    batch = task.forget.batch(torch.arange(10))
    original = tiny_network(3)(batch.images).detach().double().softmax(dim=1).numpy()
    student = tiny_network(11)(batch.images).detach().double().softmax(dim=1).numpy()
    expected = []
    for i, label in enumerate(batch.labels.tolist()):
        stay = [c for c in range(4) if c not in (label, *classes)]
        target = original[i, stay] / original[i, stay].sum()
        expected.append((target * np.log(target / student[i, stay])).sum())
    actual = loss(tiny_network(11), batch).detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_the_model_learns_to_leave_the_class_out_and_to_answer_as_before_among_the_others():
    task, loss = distilled((1,), epochs=200, lr=0.05, keepStatistics=True)
    batch = task.forget.batch(torch.arange(len(task.forget)))
    assert task.model(batch.images).softmax(dim=1)[:, 1].max() < 0.05
    assert loss(task.model, batch).mean() < 0.1 * loss(tiny_network(3), batch).mean()


def test_the_retain_set_plays_no_part():
    task, _ = distilled((1,), epochs=2)
    other = tiny_task(kind=RecordingTask, retain=tiny_task().forget)
    delete(other, DeleteParams(epochs=2))
    for one, two in zip(task.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(one, two)
