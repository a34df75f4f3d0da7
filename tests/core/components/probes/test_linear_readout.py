"""The ridge classifier against scikit-learn's Ridge, fitted again without each sample."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from supreme_core.components.probes import linear_readout as module
from supreme_core.components.probes.linear_readout import Readout, linear_readout
from supreme_core.scoring.probe_settings import ReadoutSettings
from tests.builders import tiny_network
from tests.core.components.probes.probe_tasks import UNLEARNED, features_of, probe_task

CLASSES = 3


def made_up(samples, features=5):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(samples, features, generator=generator)
    return rows + 2, torch.randint(0, CLASSES, (samples,), generator=generator)


def targets(labels):
    return np.where(np.asarray(labels)[:, None] == np.arange(CLASSES), 1.0, -1.0)


def ridge(features, labels, penalty):
    return Ridge(alpha=penalty).fit(np.asarray(features, np.float64), targets(labels))


@pytest.mark.parametrize("strength", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("features", [5, 40], ids=["long", "wide"])
def test_it_is_a_ridge_regression(strength, features):
    rows, labels = made_up(30, features)
    readout = Readout(rows, labels, classes=CLASSES, ridge=strength)
    variance = np.asarray(rows, np.float64).var(axis=0).mean()
    assert readout.penalty == pytest.approx(strength * 30 * variance)
    expected = ridge(rows, labels, float(readout.penalty)).predict(rows.double().numpy())
    np.testing.assert_allclose(readout(rows).numpy(), expected, atol=1e-8)


@pytest.mark.parametrize("strength", [1e-3, 1.0])
@pytest.mark.parametrize("features", [5, 40], ids=["long", "wide"])
def test_a_sample_is_judged_by_the_fit_without_it(strength, features):
    rows, labels = made_up(30, features)
    readout = Readout(rows, labels, classes=CLASSES, ridge=strength)
    found = readout.without_each(8).numpy()
    for left_out in range(8):
        kept = np.arange(30) != left_out
        model = ridge(rows[kept], labels[kept], float(readout.penalty))
        expected = model.predict(rows[left_out : left_out + 1].double().numpy())
        np.testing.assert_allclose(found[left_out], expected[0], atol=1e-8)


def test_the_scale_of_the_features_does_not_matter():
    rows, labels = made_up(30)
    one, other = (
        Readout(rows * scale, labels, classes=CLASSES, ridge=0.1)(rows * scale)
        for scale in (1.0, 64.0)
    )
    torch.testing.assert_close(one, other)


def test_chunks_are_only_a_matter_of_memory(monkeypatch):
    rows, labels = made_up(30)
    whole = Readout(rows, labels, classes=CLASSES, ridge=0.1).without_each(8)
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    parts = Readout(rows, labels, classes=CLASSES, ridge=0.1).without_each(8)
    torch.testing.assert_close(parts, whole)


def test_it_is_fitted_on_all_training_samples_and_judged_on_the_held_out_ones():
    task = probe_task()
    network = tiny_network(UNLEARNED)
    training = [task.sets[on] for on in ("forget", "retain")]
    features = np.concatenate([features_of(network, each) for each in training]).astype(np.float64)
    labels = np.concatenate([each.labels.numpy() for each in training])
    penalty = 0.1 * len(features) * features.var(axis=0).mean()
    one_hot = np.where(labels[:, None] == np.arange(4), 1.0, -1.0)
    model = Ridge(alpha=penalty).fit(features, one_hot)
    held_out = task.sets["forget_test"]
    answers = model.predict(features_of(network, held_out).astype(np.float64)).argmax(axis=1)

    found = linear_readout(task, ReadoutSettings(ridge=0.1))

    assert found["forget_test"] == np.mean(answers == held_out.labels.numpy())


def test_features_that_tell_classes_apart_are_read_out():
    """A feature that is the label recovers everything."""
    labels = torch.arange(24) % CLASSES
    rows = torch.eye(CLASSES)[labels] * 5
    readout = Readout(rows, labels, classes=CLASSES, ridge=1e-3)
    assert torch.equal(readout.without_each(24).argmax(dim=1), labels)


def test_single_samples_have_no_held_out_set():
    found = linear_readout(probe_task(forgets="samples"), ReadoutSettings())
    assert found.keys() == {"forget"}


def test_a_model_whose_features_are_not_finite_recovers_nothing():
    network = tiny_network(UNLEARNED)
    with torch.no_grad():
        network[0].weight.mul_(torch.inf)
    found = linear_readout(probe_task(model=network), ReadoutSettings())
    assert all(np.isnan(value) for value in found.values())
