"""The vote of neighbours against scikit-learn's classifier, sample by sample."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from supreme_core.components.probes import nearest_neighbours as module
from supreme_core.components.probes.nearest_neighbours import nearest_neighbours, votes
from supreme_core.scoring.probe_settings import NeighbourSettings
from tests.builders import tiny_network
from tests.core.components.probes.probe_tasks import UNLEARNED, features_of, probe_task


def made_up(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(samples, 6, generator=generator)
    return features, torch.randint(0, 3, (samples,), generator=generator)


def classifier(features, labels, neighbours):
    model = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute")
    return model.fit(np.asarray(features, np.float64), np.asarray(labels))


@pytest.mark.parametrize("neighbours", [1, 2, 5, 12])
def test_votes_are_those_of_scikit_learn(neighbours):
    features, labels = made_up(60, 1)
    asked, _ = made_up(40, 2)
    expected = classifier(features, labels, neighbours).predict(asked.double().numpy())
    found = votes(features, labels, asked, neighbours=neighbours)
    assert found.tolist() == expected.tolist()
    assert len(set(found.tolist())) == 3


@pytest.mark.parametrize("neighbours", [1, 5])
def test_a_training_sample_has_no_vote_on_itself(neighbours):
    """The result is that of a classifier that is fitted without the sample, for each of them."""
    features, labels = made_up(30, 3)
    expected = []
    for left_out in range(10):
        kept = np.arange(30) != left_out
        model = classifier(features[kept], labels[kept], neighbours)
        expected += model.predict(features[left_out : left_out + 1].double().numpy()).tolist()
    found = votes(features, labels, features[:10], neighbours=neighbours, own=True)
    assert found.tolist() == expected


def test_chunks_are_only_a_matter_of_memory(monkeypatch):
    features, labels = made_up(30, 3)
    whole = votes(features, labels, features[:10], neighbours=5, own=True)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 70)  # two rows at a time
    assert torch.equal(votes(features, labels, features[:10], neighbours=5, own=True), whole)


def test_more_neighbours_than_there_are_is_everybody():
    features, labels = made_up(9, 4)
    everybody = votes(features, labels, features[:3], neighbours=8, own=True)
    assert torch.equal(votes(features, labels, features[:3], neighbours=99, own=True), everybody)


def test_all_training_samples_vote_on_what_was_held_out():
    task = probe_task()
    network = tiny_network(UNLEARNED)
    training = [task.sets[on] for on in ("forget", "retain")]
    features = np.concatenate([features_of(network, samples) for samples in training])
    labels = np.concatenate([samples.labels.numpy() for samples in training])
    held_out = features_of(network, task.sets["forget_test"]).astype(np.float64)
    expected = classifier(features, labels, 3).score(held_out, task.sets["forget_test"].labels)

    found = nearest_neighbours(task, NeighbourSettings(neighbours=3))

    assert found["forget_test"] == expected


def test_single_samples_have_no_held_out_set():
    found = nearest_neighbours(probe_task(forgets="samples"), NeighbourSettings())
    assert found.keys() == {"forget"}


def test_a_model_whose_features_are_not_finite_recovers_nothing():
    network = tiny_network(UNLEARNED)
    with torch.no_grad():
        network[0].weight.mul_(torch.inf)
    found = nearest_neighbours(probe_task(model=network), NeighbourSettings())
    assert all(np.isnan(value) for value in found.values())
