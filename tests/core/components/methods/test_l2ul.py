"""L2UL's attack in a ball, its importances sample by sample, its loss, its penalty and its end."""

import pytest
import torch
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.l2ul import (
    L2ulParams,
    adversarial,
    l2ul,
    projected,
    signed_cross_entropy,
    unimportances,
)
from tests.builders import RecordingTask, tiny_network, tiny_task


def settings(**params):
    return parse(L2ulParams, params)


def images(samples):
    return samples.batch(torch.arange(len(samples)))


def test_adversarial_images_are_in_the_ball_and_in_the_range_of_pixels():
    """The tiny samples are normalised with mean 1/2 and standard deviation 1/4."""
    task = tiny_task()
    made = images(adversarial(task, settings(examples=3, epsilon=1.5)))
    originals = images(task.forget).images.repeat(3, 1, 1, 1)
    shifts = ((made.images - originals) * 0.25).flatten(1).norm(dim=1)
    assert shifts.max() <= 1.5 + 1e-5
    assert shifts.min() > 0.5
    assert made.images.min() >= -2
    assert made.images.max() <= 2


@pytest.mark.parametrize("classes", [(), (1,)], ids=str)
def test_their_labels_are_wrong_and_spread_over_the_other_classes(classes):
    task = tiny_task(forget_classes=classes)
    made = adversarial(task, settings(examples=40, steps=0))
    true = task.forget.labels.repeat(40)
    assert not (made.labels == true).any()
    assert len(made) == 40 * len(task.forget)
    for label in true.unique():
        drawn = made.labels[true == label].bincount(minlength=4)
        share = int((true == label).sum()) / 3
        assert all(abs(int(n) - share) < 5 * share**0.5 for c, n in enumerate(drawn) if c != label)


def test_the_model_takes_them_for_their_labels_more_than_the_images_that_they_come_from():
    task = tiny_task()
    losses = []
    for steps in (0, 10):
        batch = images(adversarial(task, settings(epsilon=2, step=0.4, steps=steps)))
        losses.append(functional.cross_entropy(tiny_network(3)(batch.images), batch.labels).item())
    assert losses[1] < 0.5 * losses[0]


def test_shifts_are_shortened_to_the_ball_and_short_ones_stay():
    shifts = torch.zeros(3, 1, 2, 2)
    shifts[0, 0, 0, 0], shifts[1, 0, 1, 1] = 3.0, 0.2
    short = projected(shifts, 0.5)
    assert short[0, 0, 0, 0] == 0.5
    assert torch.equal(short[1:], shifts[1:])


def test_importances_are_the_mean_size_of_gradients_of_the_length_of_the_output():
    task = tiny_task()
    totals = [torch.zeros_like(each, dtype=torch.float64) for each in task.model.parameters()]
    for i in range(len(task.forget)):
        model = tiny_network(3)
        model(task.forget.batch(torch.tensor([i])).images).norm().backward()
        for total, parameter in zip(totals, model.parameters(), strict=True):
            total += parameter.grad.double().abs()
    for actual, total in zip(unimportances(task), totals, strict=True):
        expected = 1 - (total - total.min()) / (total.max() - total.min())
        torch.testing.assert_close(actual, expected.float(), rtol=1e-3, atol=1e-4)


def test_a_tensor_whose_weights_matter_alike_is_unimportant_and_not_undefined():
    model = tiny_network(3)
    torch.nn.init.zeros_(model[-1].weight)
    assert all((each == 1).all() for each in unimportances(tiny_task(model=model))[:4])


def test_the_loss_is_the_mean_over_both_kinds_with_forgotten_ones_negative():
    task = tiny_task(kind=RecordingTask)
    l2ul(task, settings(epochs=1, examples=2))
    samples, how = task.phases["pass 0"]
    batch = samples.batch(torch.tensor([0, 3, 12, 15, 20]))
    losses = functional.cross_entropy(
        tiny_network(11)(batch.images),
        torch.where(batch.labels < 0, -1 - batch.labels, batch.labels),
        reduction="none",
    )
    expected = torch.cat([-losses[:2], losses[2:]])
    torch.testing.assert_close(signed_cross_entropy(tiny_network(11), batch), expected)
    assert how["loss"] is signed_cross_entropy


def test_a_step_has_a_batch_of_adversarial_images_and_the_next_batch_of_forgotten_ones():
    task = tiny_task(kind=RecordingTask)
    l2ul(task, settings(epochs=1, examples=3, batchSize=10, forgetBatchSize=5))
    _, how = task.phases["pass 0"]
    steps = how["order"](0, 1)
    assert [int((step >= 12).sum()) for step in steps] == [10, 10, 10, 6]
    assert [int((step < 12).sum()) for step in steps] == [5, 5, 2, 5]
    assert torch.cat(steps)[torch.cat(steps) >= 12].sort().values.tolist() == list(range(12, 48))
    forgotten = torch.cat([step[step < 12] for step in steps[:3]])
    assert forgotten.sort().values.tolist() == list(range(12))


def test_the_penalty_is_the_gradient_of_the_weighted_distance():
    task = tiny_task(kind=RecordingTask)
    l2ul(task, settings(epochs=1, penalty=4))
    freedoms = unimportances(tiny_task())
    distance = sum(
        (freedom * (weight - original.detach()).square()).sum()
        for freedom, weight, original in zip(
            freedoms, task.model.parameters(), tiny_network(3).parameters(), strict=True
        )
    )
    expected = torch.autograd.grad(4 / 2 * distance, list(task.model.parameters()))
    for parameter in task.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    task.phases["pass 0"][1]["before_step"](0.0)
    for parameter, gradient in zip(task.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_it_ends_once_no_forgotten_sample_is_right():
    task = tiny_task(kind=RecordingTask)
    l2ul(task, settings(epochs=50, lr=0.1, penalty=0))
    batch = images(task.forget)
    assert len(task.phases) < 50
    assert not (task.model(batch.images).argmax(dim=1) == batch.labels).any()
