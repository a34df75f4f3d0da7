"""PRMQ's weights begin anew as torch's own pruning finds them; its loss with scipy's entropies and
class weights counted by hand; the number of steps; and that the end is a number of 16 bits."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from torch.nn import functional
from torch.nn.utils import prune

from supreme_core.api.model import parse
from supreme_core.components.methods.prmq import PrmqParams, _steps, prmq
from tests.builders import RecordingTask, digest, tiny_network, tiny_task


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_the_smallest_weights_begin_anew_and_the_others_stay(fraction):
    pruned = copy.deepcopy(tiny_network(3))
    parts = [(layer, kind) for layer in (pruned[0], pruned[4]) for kind in ("weight", "bias")]
    prune.global_unstructured(parts, prune.L1Unstructured, amount=fraction)

    task, original = tiny_task(), tiny_network(3)
    prmq(task, parse(PrmqParams, {"fraction": fraction, "epochs": 0, "half": False}))
    for place, fan_in in ((0, 9), (4, 64)):
        anew = pruned[place].weight_mask == 0
        found, before = task.model[place].weight.detach(), original[place].weight.detach()
        assert torch.equal(found[~anew], before[~anew])
        assert (found[anew] != before[anew]).all()
        assert found[anew].abs().max() <= fan_in**-0.5
        anew = pruned[place].bias_mask == 0
        found, before = task.model[place].bias.detach(), original[place].bias.detach()
        assert torch.equal(found, torch.where(anew, 0, before))


def test_new_weights_are_uniform():
    task = tiny_task()
    prmq(task, parse(PrmqParams, {"fraction": 1, "epochs": 0, "half": False}))
    drawn = task.model[4].weight.detach().flatten() * 8  # fan in 64
    assert drawn.abs().max() <= 1
    assert drawn.mean().abs() < 4 / (3 * len(drawn)) ** 0.5
    assert drawn.var() == pytest.approx(1 / 3, rel=0.2)


def test_the_loss_is_weighted_cross_entropy_and_the_squared_difference_of_entropies():
    task = tiny_task(forget_classes=(), kind=RecordingTask)
    prmq(task, parse(PrmqParams, {"epochs": 1, "balance": 0.7}))
    samples, how = task.phases["repair"]
    batch, student, original = samples.batch(torch.arange(20)), tiny_network(11), tiny_network(3)
    labels = samples.labels.tolist()
    weights = np.array([labels.count(c) ** -0.7 for c in range(4)])
    assert len(set(weights)) > 1
    weights /= np.mean([weights[label] for label in labels])
    logits, aim = (model(batch.images).detach().double() for model in (student, original))
    right = functional.cross_entropy(logits, batch.labels, reduction="none").numpy()
    gap = entropy(softmax(logits.numpy(), 1), axis=1) - entropy(softmax(aim.numpy(), 1), axis=1)
    expected = weights[batch.labels] * right + gap**2
    np.testing.assert_allclose(how["loss"](student, batch).detach(), expected, rtol=1e-4)


@pytest.mark.parametrize(("epochs", "count"), [(3.2, 12), (2.5, 10), (0.5, 2), (1, 4)])
def test_the_last_pass_is_cut_off(epochs, count):
    """36 samples in batches of 10 are four steps."""
    steps = []
    task = tiny_task(report=lambda *, epoch=None, **step: steps.append(epoch))
    prmq(task, parse(PrmqParams, {"epochs": epochs, "batchSize": 10}))
    assert len(steps) == count


def test_steps_of_whole_and_of_cut_passes():
    assert _steps(1000, 10, 3.2) == (3, 20)
    assert _steps(1000, 10, 0.3) == (0, 30)
    assert _steps(5, 10, 3.2) == (3, 0)


def test_at_the_end_every_number_is_one_of_half_precision():
    task, exact = tiny_task(), tiny_task()
    prmq(task, parse(PrmqParams, {"epochs": 1}))
    prmq(exact, parse(PrmqParams, {"epochs": 1, "half": False}))
    for name, tensor in task.model.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, tensor.half().float())
            assert torch.equal(tensor, exact.model.state_dict()[name].half().float())
    assert digest(task.model) != digest(exact.model)
