"""DUCK's centroids, targets and loss by hand; when it stops; which samples meet in a step."""

import numpy as np
import pytest
import torch

from supreme_core.api.model import parse
from supreme_core.components.methods.duck import DuckParams, _centroids, _loss, _nearest_wrong, duck
from supreme_core.engine.toolbox.head import watched_head
from supreme_core.engine.toolbox.signed_labels import marked
from tests.builders import RecordingTask, tiny_network, tiny_task


def features(model, samples):
    """(n, 64) float64, what goes into the head."""
    batch = samples.batch(torch.arange(len(samples)))
    return model[:4](batch.images).detach().double().numpy()


def cosine(one, other):
    return (one @ other) / (np.linalg.norm(one) * np.linalg.norm(other))


def by_hand(task):
    """Class to centroid."""
    labels, inputs = task.retain.labels.numpy(), features(tiny_network(3), task.retain)
    return {c: inputs[labels == c].mean(axis=0) for c in range(4) if (labels == c).any()}


@pytest.mark.parametrize("classes", [(), (1,), (0, 3)], ids=str)
def test_targets_are_the_nearest_centroids_of_other_classes(classes):
    task = tiny_task(forget_classes=classes)
    centroids, present = _centroids(task)
    expected = by_hand(task)
    assert present.nonzero().flatten().tolist() == list(expected)
    for label, centroid in expected.items():
        np.testing.assert_allclose(centroids[label], centroid, rtol=1e-4, atol=1e-6)
    nearest = _nearest_wrong(task, centroids, present)
    for row, label, found in zip(
        features(tiny_network(3), task.forget), task.forget.labels, nearest, strict=True
    ):
        others = [c for c in expected if c != label]
        assert found == max(others, key=lambda c: cosine(row, expected[c]))


def test_a_steps_mean_is_the_weighted_sum_of_the_means_of_its_parts():
    task, student = tiny_task(), tiny_network(11)
    centroids, present = _centroids(task)
    nearest = _nearest_wrong(task, centroids, present)
    both = marked(task.forget.with_labels(nearest), task.retain)
    positions = torch.cat([torch.arange(5), 12 + torch.arange(5)])
    params = parse(DuckParams, {"lambdaForget": 3, "lambdaRetain": 0.7, "temperature": 1.5})
    with watched_head(student) as seen:
        actual = _loss(
            student, both.batch(positions), features=seen, centroids=centroids, params=params
        )
    inputs, expected = features(student, both.take(positions)), by_hand(task)
    distances = [1 - cosine(inputs[i], expected[int(nearest[i])]) for i in range(5)]
    batch = task.retain.batch(torch.arange(5))
    logits = student(batch.images).detach().double() / 1.5
    right = torch.nn.functional.cross_entropy(logits, batch.labels)
    assert actual.mean().item() == pytest.approx(3 * np.mean(distances) + 0.7 * right.item(), 1e-4)


def test_each_forgotten_sample_meets_so_many_retained_ones_in_a_pass():
    task = tiny_task(kind=RecordingTask)
    duck(task, parse(DuckParams, {"epochs": 1, "partners": 3, "batchSize": 10}))
    samples, how = task.phases["pass 0"]
    taken = samples.take(torch.cat(list(how["order"](0, 1))))
    counts = taken.ids.bincount(minlength=48)
    assert (counts[task.forget.ids] == 3).all()
    assert (counts[task.retain.ids] == 1).all()  # 36 of 36
    assert ((taken.labels < 0) == torch.isin(taken.ids, task.forget.ids)).all()


@pytest.mark.parametrize(("target", "passes"), [(0, 4), (1, 1)])
def test_passes_end_once_the_accuracy_on_the_forget_set_is_below_the_target(target, passes):
    """The tiny network is never right on all twelve; below 0 it cannot come."""
    task = tiny_task(kind=RecordingTask)
    duck(task, parse(DuckParams, {"epochs": 4, "targetAccuracy": target}))
    assert list(task.phases) == [f"pass {n}" for n in range(passes)]


def test_forgotten_samples_come_nearer_to_their_targets():
    task = tiny_task()
    duck(
        task, parse(DuckParams, {"epochs": 20, "lr": 1e-2, "lambdaRetain": 0, "targetAccuracy": 0})
    )
    original = tiny_task()
    centroids, present = _centroids(original)
    nearest = _nearest_wrong(original, centroids, present).tolist()
    expected = by_hand(original)
    after, before = (
        np.mean(
            [
                cosine(row, expected[target])
                for row, target in zip(features(model, original.forget), nearest, strict=True)
            ]
        )
        for model in (task.model, tiny_network(3))
    )
    assert after > before + 0.02
