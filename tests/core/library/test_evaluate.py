"""Metrics on networks of one's own: which rows there are, and what is refused.

That the numbers are those of an experiment is seen in test_results.py, and what they are in
tests/core/components/metrics.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from supreme_core import evaluate
from supreme_core.errors import SpecError
from tests.builders import digest, tiny_network, tiny_samples

WHOLE = tiny_samples(96).batch(torch.arange(96))
TRAIN, TEST = torch.arange(64), torch.arange(64, 96)


def part(positions):
    return TensorDataset(WHOLE.images[positions], WHOLE.labels[positions])


OF_CLASS = {
    "forget": part(TRAIN[WHOLE.labels[TRAIN] == 1]),
    "retain": part(TRAIN[WHOLE.labels[TRAIN] != 1]),
    "test": part(TEST),
}
OF_SAMPLES = {"forget": part(TRAIN[:10]), "retain": part(TRAIN[10:]), "test": part(TEST)}


def share_right(network, dataset):
    images, labels = dataset.tensors
    with torch.inference_mode():
        return float((network(images).argmax(1) == labels).double().mean())


def test_the_default_set_is_there_and_models_stay_as_they_were():
    model, retrained = tiny_network(1), tiny_network(2).train()
    before = digest(model), digest(retrained)

    found = evaluate(model, retrained, **OF_CLASS)

    assert (digest(model), digest(retrained)) == before
    assert retrained.training
    assert found["forget_accuracy"] == share_right(model, OF_CLASS["forget"])
    assert found["test_accuracy"] == share_right(model, OF_CLASS["test"])
    of_class = WHOLE.labels[TEST] == 1
    assert found["forget_test_accuracy"] == share_right(model, part(TEST[of_class]))
    assert found["retain_test_accuracy"] == share_right(model, part(TEST[~of_class]))
    assert found["layer_distance"] > 0
    assert not {"wall_seconds", "speed_up", "aus", "zrf"} & {*found}


def test_single_samples_have_no_test_samples_of_their_own():
    found = evaluate(tiny_network(1), tiny_network(2), **OF_SAMPLES, metrics=["accuracy"])
    assert found["forget_test_accuracy"] is None
    assert found["retain_test_accuracy"] == found["test_accuracy"]


def test_the_model_before_unlearning_gives_further_rows():
    models = tiny_network(1), tiny_network(2)
    found = evaluate(*models, **OF_CLASS, original=tiny_network(3), metrics=["aus"])
    assert np.isfinite(found["aus"])


def test_networks_of_other_weights_have_no_distance():
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    found = evaluate(
        tiny_network(1), other, **OF_CLASS, metrics=["layer_distance", "js_divergence"]
    )
    assert found["layer_distance"] is None
    assert found["test_js_divergence"] > 0


class Shifted(TensorDataset):
    """Images that are not the tensors it was made of."""

    def __getitem__(self, number):
        image, label = super().__getitem__(number)
        return image.flip(2) * 3, label


def test_images_are_those_that_a_data_set_gives():
    test = Shifted(*OF_CLASS["test"].tensors)
    plain = TensorDataset(torch.stack([image for image, _ in test]), test.tensors[1])
    models = tiny_network(1), tiny_network(2)
    metrics = ["accuracy", "loss"]
    found, wanted, other = (
        evaluate(*models, **{**OF_CLASS, "test": each}, metrics=metrics)
        for each in (test, plain, OF_CLASS["test"])
    )
    assert found == wanted != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["acuracy"]}, "metrics[0]: unknown metric 'acuracy'; did you mean 'accuracy'"),
        ({"metrics": "accuracy"}, "metrics is 'accuracy'; allowed: a list of names"),
        ({"metrics": 3}, "metrics is of type int; allowed: a list of names"),
        ({"metrics": [None]}, "metrics[0] is None; allowed: a name that `supreme list metric`"),
        ({"seed": True}, "seed is True; allowed: a whole number from 0"),
        ({"metrics": ["aus"]}, "metrics[0] is 'aus', which needs original, the model before"),
        ({"metrics": ["zrf"]}, "metrics[0] is 'zrf', which needs more than predictions"),
        ({"metrics": ["wall_seconds"]}, "metrics[0] is 'wall_seconds', which needs a run that was"),
        ({"test": part(TEST[:0])}, "test has no sample; at least 1 is needed"),
        (
            {"retrained": nn.Sequential(nn.Flatten(), nn.Linear(64, 3))},
            "retrained has 3 classes, model has 4; give models of the same classes",
        ),
    ],
)
def test_what_cannot_be_used_is_told(changes, message):
    arguments = {"model": tiny_network(1), "retrained": tiny_network(2), **OF_CLASS, **changes}
    with pytest.raises(SpecError) as error:
        evaluate(**arguments)
    assert message in str(error.value)
