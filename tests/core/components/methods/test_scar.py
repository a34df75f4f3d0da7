"""SCAR's class statistics, distances and loss with numpy, sample by sample; its surrogates."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from supreme_core.api.model import parse
from supreme_core.components.methods.scar import (
    ScarParams,
    _loss,
    _nearest_wrong,
    _statistics,
    _surrogates,
    scar,
    shuffled_patches,
)
from supreme_core.engine.toolbox.head import watched_head
from supreme_core.engine.toolbox.signed_labels import marked
from supreme_core.errors import MethodFailed
from tests.builders import RecordingTask, tiny_network, tiny_task

PARAMS = parse(ScarParams, {"surrogates": 40, "lambdaForget": 3, "temperature": 2})


def images(samples):
    return samples.batch(torch.arange(len(samples))).images


def powers(model, samples):
    with torch.no_grad():
        features = model[:4](images(samples)).double().numpy()
    return np.where(features > 0, np.maximum(features, 1e-6) ** 0.5, 0)  # after a ReLU


def by_hand(task):
    """Class to mean and inverse of the shrunk correlations."""
    labels, points, found = task.retain.labels.numpy(), powers(tiny_network(3), task.retain), {}
    for label in sorted(set(labels.tolist())):
        mine = points[labels == label]
        covariance = np.cov(mine, rowvar=False)
        off = ~np.eye(64, dtype=bool)
        diagonal, others = np.diag(covariance).mean(), covariance[off].mean()
        shrunk = covariance + 3 * np.where(off, others, diagonal)
        scale = np.sqrt(np.diag(shrunk))
        found[label] = mine.mean(axis=0), np.linalg.pinv(shrunk / np.outer(scale, scale))
    return found


def distance(point, mean, precision):
    away = point / np.linalg.norm(point) - mean / np.linalg.norm(mean)
    return away @ precision @ away


@pytest.mark.parametrize("classes", [(1,), (0, 3)], ids=str)
def test_targets_are_the_nearest_classes_that_are_wrong(classes):
    task = tiny_task(forget_classes=classes)
    statistics = _statistics(task, PARAMS)
    expected = by_hand(task)
    assert statistics[2].nonzero().flatten().tolist() == list(expected)
    nearest = _nearest_wrong(task, PARAMS, *statistics)
    points = powers(tiny_network(3), task.forget)
    for point, found in zip(points, nearest.tolist(), strict=True):
        assert found == min(expected, key=lambda c: distance(point, *expected[c]))


def test_a_steps_loss_is_the_distance_and_the_divergence_from_the_original():
    task, student = tiny_task(), tiny_network(11)
    means, precisions, present = _statistics(task, PARAMS)
    nearest = _nearest_wrong(task, PARAMS, means, precisions, present)
    surrogates = _surrogates(task, PARAMS)
    both = marked(task.forget.with_labels(nearest), surrogates)
    positions = torch.cat([torch.arange(5), 12 + torch.arange(5)])
    with watched_head(student) as features:
        found = _loss(
            student,
            both.batch(positions),
            features=features,
            original=tiny_network(3),
            means=means.float(),
            precisions=precisions.float(),
            hidden=torch.arange(4) == 1,
            params=PARAMS,
        )
    statistics, points = by_hand(task), powers(tiny_network(11), task.forget)
    for i in range(5):
        expected = 2 * 3 * distance(points[i], *statistics[int(nearest[i])])
        assert found[i].item() == pytest.approx(expected, rel=1e-3)
    with torch.no_grad():
        some = images(surrogates)[:5]
        target, answer = (model(some).double().numpy() for model in (tiny_network(3), student))
    target[:, 1] = target.min(axis=1)
    target, answer = log_softmax(target / 2, axis=1), log_softmax(answer / 2, axis=1)
    expected = 2 * 5 * np.sum(np.exp(target) * (target - answer), axis=1)
    np.testing.assert_allclose(found[5:].detach(), expected, rtol=1e-3, atol=1e-5)


def test_shuffled_images_have_the_patches_of_the_forgotten_ones_in_another_order():
    task = tiny_task()
    found = shuffled_patches(task.forget, 30, torch.Generator().manual_seed(1))
    whole = images(task.forget)

    def patches(image):
        return [image[:, y : y + 2, x : x + 2] for y in range(0, 8, 2) for x in range(0, 8, 2)]

    for i in range(30):
        of_found, of_source = patches(found[i]), patches(whole[i % 12])
        assert sorted(each.flatten().tolist() for each in of_found) == sorted(
            each.flatten().tolist() for each in of_source
        )
        assert not torch.equal(found[i], whole[i % 12])


@pytest.mark.parametrize("surrogate", ["shuffled", "noise"])
def test_no_surrogate_is_one_that_the_original_takes_for_a_forgotten_class(surrogate):
    for label in range(4):
        task = tiny_task(forget_classes=(label,))
        found = images(_surrogates(task, parse(ScarParams, {"surrogate": surrogate})))
        assert 0 < len(found) < 2000
        assert (tiny_network(3)(found).argmax(dim=1) != label).all()
        black, white = task.pixel_range
        assert ((found >= black) & (found <= white)).all()


def test_without_a_surrogate_the_run_fails():
    model = tiny_network(3)
    with torch.no_grad():
        model[-1].bias[1] = 1e3
    with pytest.raises(MethodFailed, match="takes each surrogate image"):
        scar(tiny_task(model=model), ScarParams())


@pytest.mark.parametrize(("target", "passes"), [(0, 4), (1, 1)])
def test_passes_end_once_the_accuracy_on_the_forget_set_is_below_the_target(target, passes):
    task = tiny_task(kind=RecordingTask)
    scar(task, parse(ScarParams, {"epochs": 4, "surrogates": 40, "targetAccuracy": target}))
    assert list(task.phases) == [f"pass {n}" for n in range(passes)]
