"""The teachers and the loss of the bad teacher, against logs of sums of exponentials by hand."""

import copy

import numpy as np
import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.bad_teacher import BadTeacherParams, bad_teacher
from tests.builders import RecordingTask, tiny_network, tiny_task


def distilled(**params):
    """The task, and samples and settings of its one phase. Training starts from weights that know
    something, as pretrained ones do; the incompetent teacher has others, which know nothing."""
    networks = {"new_network": lambda seed: tiny_network(5)}
    networks["random_network"] = lambda seed: tiny_network(99)
    task = tiny_task(kind=RecordingTask, **networks)
    bad_teacher(task, parse(BadTeacherParams, params))
    return task, *task.phases["distillation"]


def divergence(teacher_logits, student_logits, temperature):
    """KL(softmax(t / T) || softmax(s / T)) of each row in float64."""

    def log_softmax(logits):
        scaled = logits.detach().numpy().astype(np.float64) / temperature
        return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))

    target, answer = log_softmax(teacher_logits), log_softmax(student_logits)
    return (np.exp(target) * (target - answer)).sum(axis=1)


@pytest.mark.parametrize(("incompetent", "seed"), [("random", 99), ("start", 5)])
@pytest.mark.parametrize("temperature", [1, 4], ids="T={}".format)
def test_defect_03_loss_is_the_sum_over_classes_not_their_mean(temperature, incompetent, seed):
    _, samples, how = distilled(temperature=temperature, incompetent=incompetent)
    original, incompetent, student = tiny_network(3), tiny_network(seed), tiny_network(11)
    batch = samples.batch(torch.arange(len(samples)))
    forgotten = batch.labels.numpy() == 1
    answer = student(batch.images)
    expected = np.where(
        forgotten,
        divergence(incompetent(batch.images), answer, temperature),
        divergence(original(batch.images), answer, temperature),
    )
    actual = how["loss"](student, batch).detach()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_loss_is_zero_where_the_student_is_its_teacher():
    original = copy.deepcopy(tiny_network(3))
    _, samples, how = distilled()
    batch = samples.batch(torch.arange(12, len(samples)))  # the forget set comes first
    assert how["loss"](original, batch).abs().max() < 1e-6


def test_data_are_the_forget_set_and_the_asked_part_of_the_retain_set():
    task, samples, _ = distilled(retainFraction=0.5)
    forgotten = samples.labels == 1
    assert torch.equal(samples.ids[forgotten], task.forget.ids)
    kept = samples.ids[~forgotten]
    assert len(kept) == len(kept.unique()) == len(task.retain) // 2
    assert torch.isin(kept, task.retain.ids).all()
    assert not torch.equal(kept, task.retain.ids[: len(kept)])  # drawn, not the first ones


def test_teachers_neither_learn_nor_change_their_statistics():
    """The loss of a fixed student is the same before and after teachers saw other batches."""
    student = tiny_network(11)
    _, samples, how = distilled()
    batch = samples.batch(torch.arange(20))
    before = how["loss"](student, batch)
    how["loss"](student, samples.batch(torch.arange(10, 22))).sum().backward()
    assert torch.equal(how["loss"](student, batch), before)


def test_the_student_moves_towards_the_incompetent_teacher_on_the_forget_set():
    task, samples, how = distilled(epochs=20, lr=1e-2)
    batch = samples.batch(torch.arange(12))
    after, before = how["loss"](task.model, batch), how["loss"](tiny_network(3), batch)
    assert after.mean() < 0.5 * before.mean()
