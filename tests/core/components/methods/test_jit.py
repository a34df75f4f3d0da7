"""JiT's loss against a loop over samples and noises, and that no noise makes no loss."""

import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.jit import JitParams, jit
from tests.builders import RecordingTask, digest, tiny_network, tiny_task


def smoothed(**params):
    """The task, and settings of its one phase."""
    task = tiny_task(kind=RecordingTask)
    jit(task, parse(JitParams, params))
    return task, task.phases["smoothing"][1]


def test_loss_is_the_mean_steepness_towards_clipped_noisy_images():
    """Slowly, with the same random numbers; pixels are -2 (black) to 2 (white) here."""
    task, how = smoothed(noises=3, sigma=0.7, epochs=0)
    model, batch = tiny_network(11), task.forget.batch(torch.arange(5))
    torch.manual_seed(5)
    actual = how["loss"](model, batch)
    torch.manual_seed(5)
    noises = [0.7 * torch.randn_like(batch.images) for _ in range(3)]
    for i in range(5):
        image, total = batch.images[i : i + 1], 0.0
        for noise in noises:
            noisy = torch.clip(image + noise[i], -2.0, 2.0)
            way = (noisy - image).square().sum().sqrt()
            moved = (model(image) - model(noisy)).square().sum().sqrt()
            total += (moved / way).item()
        assert actual[i].item() == pytest.approx(total / 3, rel=1e-4)


def test_defect_12_both_sides_are_in_eval_mode_so_almost_no_noise_gives_a_finite_slope():
    """In train mode on one side the outputs would differ by themselves, over a vanishing noise."""
    task, how = smoothed(epochs=0)
    batch = task.forget.batch(torch.arange(12))
    slopes = []
    for sigma in (1e-2, 1e-3):
        _, how = smoothed(epochs=0, sigma=sigma)
        torch.manual_seed(1)
        slopes.append(how["loss"](tiny_network(3), batch).mean().item())
    assert slopes[0] == pytest.approx(slopes[1], rel=0.05)
    assert how["training"] is False


def test_statistics_of_batch_norm_keep_their_bits():
    task, _ = smoothed()
    for one, other in zip(task.model.buffers(), tiny_network(3).buffers(), strict=True):
        assert torch.equal(one, other)
    assert digest(task.model) != digest(tiny_network(3))


def test_the_output_becomes_flatter_around_forgotten_samples():
    task, how = smoothed(epochs=20, lr=1)
    batch = task.forget.batch(torch.arange(12))
    slopes = []
    for model in (tiny_network(3), task.model):
        torch.manual_seed(1)
        slopes.append(how["loss"](model, batch).mean().item())
    assert slopes[1] < 0.9 * slopes[0]
