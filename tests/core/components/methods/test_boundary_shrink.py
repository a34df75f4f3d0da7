"""The nearest wrong class: of a linear network, where geometry tells it, and of others by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from supreme_core.components.methods.boundary_shrink import (
    BoundaryShrinkParams,
    boundary_shrink,
    nearest_wrong_labels,
)
from tests.builders import RecordingTask, tiny_network, tiny_task


@pytest.mark.parametrize("classes", [(), (1,), (0, 3)], ids=str)
def test_labels_are_what_the_original_likes_best_on_the_adversarial_images(classes):
    """Pixel by pixel on the scale 0..1; the tiny samples are normalised with mean 1/2, std 1/4."""
    task, model = tiny_task(forget_classes=classes), tiny_network(3)
    for i, found in enumerate(nearest_wrong_labels(task, 0.1).tolist()):
        batch = task.forget.batch(torch.tensor([i]))
        pixels = (batch.images * 0.25 + 0.5).requires_grad_()
        loss = functional.cross_entropy(model((pixels - 0.5) / 0.25), batch.labels)
        (gradient,) = torch.autograd.grad(loss, [pixels])
        moved = (pixels + 0.1 * gradient.sign()).clamp(0, 1)
        logits = model((moved - 0.5) / 0.25)[0]
        stay = [c for c in range(4) if c not in (batch.labels.item(), *classes)]
        assert found == max(stay, key=lambda label: logits[label].item())


def test_a_class_that_a_move_leads_to_wins_over_one_that_is_a_little_better_without_it():
    """In a linear network, brighter pixels cost class 1 something and help class 2."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0, -0.001, 0.01, 0])[:, None].expand(4, 64))
        model[1].bias.copy_(torch.tensor([0.0, 5.0, 3.0, 4.0]))
    task = tiny_task(model=model)
    assert set(nearest_wrong_labels(task, 0.0).tolist()) == {3}
    assert set(nearest_wrong_labels(task, 1.0).tolist()) == {2}


def test_the_forget_set_is_trained_on_with_these_labels_and_nothing_else():
    task = tiny_task(kind=RecordingTask)
    boundary_shrink(task, BoundaryShrinkParams())
    samples, how = task.phases["forget"]
    assert torch.equal(samples.ids, task.forget.ids)
    assert torch.equal(samples.labels, nearest_wrong_labels(tiny_task(), 0.1))
    assert how["epochs"] == 10


def test_finding_labels_leaves_no_gradient_behind():
    task = tiny_task()
    nearest_wrong_labels(task, 0.1)
    assert all(parameter.grad is None for parameter in task.model.parameters())
