"""FCS: its two losses by hand, the order of its phases and the rates in them."""

from math import cos, pi

import numpy as np
import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.fcs import FcsParams, _logits, fcs, from_uniform
from tests.builders import RecordingTask, tiny_network, tiny_task


def done(**params):
    task = tiny_task(kind=RecordingTask)
    fcs(task, parse(FcsParams, params))
    return task


def test_the_flat_loss_is_the_divergence_of_the_uniform_answer():
    batch = tiny_task().forget.batch(torch.arange(6))
    answers = tiny_network(3)(batch.images).detach().double().softmax(dim=1).numpy()
    expected = (0.25 * np.log(0.25 / answers)).sum(axis=1)
    np.testing.assert_allclose(from_uniform(tiny_network(3), batch).detach(), expected, rtol=1e-4)


def test_flattening_makes_answers_uniform():
    task = done(flatEpochs=100, flatLr=0.05, epochs=0)
    task.model.train()  # as it was trained: with the statistics of this very batch
    batch = task.forget.batch(torch.arange(12))
    assert (
        from_uniform(task.model, batch).mean()
        < 0.1 * from_uniform(tiny_network(3).train(), batch).mean()
    )


def test_the_contrastive_loss_is_that_of_products_with_retained_logits():
    """The first round is compared, before anything is trained."""
    task = done(flatEpochs=0, epochs=1, contrasts=5)
    loss = task.phases["repel 0"][1]["loss"]
    batch = task.forget.batch(torch.arange(3))
    contrasts = _logits(tiny_task(), 0, 5).double().numpy()
    z = tiny_network(11)(batch.images).detach().double().numpy()
    products = z @ contrasts.T / 1.15
    expected = np.log(np.exp(products).sum(axis=1)) - products.mean(axis=1)
    np.testing.assert_allclose(loss(tiny_network(11), batch).detach(), expected, rtol=1e-4)


def test_contrasts_are_other_retained_samples_each_round_and_no_more_than_there_are():
    task = tiny_task()
    assert _logits(task, 0, 5).shape == (5, 4)
    assert _logits(task, 0, 10**6).shape == (36, 4)
    assert not torch.equal(_logits(task, 0, 5), _logits(task, 1, 5))


def test_every_round_repels_and_then_repairs():
    task = done(epochs=3)
    names = ["flatten"] + [f"{what} {n}" for n in range(3) for what in ("repel", "repair")]
    assert list(task.phases) == names
    for name, (samples, how) in task.phases.items():
        expected = task.retain if "repair" in name else task.forget
        assert torch.equal(samples.ids, expected.ids)
        assert how["epochs"] == 1
    rates = [task.phases[f"repel {n}"][1]["rate"](0.5) for n in range(3)]
    assert rates == pytest.approx([0.5 + 0.5 * cos(pi * (n + 0.5) / 3) for n in range(3)])
