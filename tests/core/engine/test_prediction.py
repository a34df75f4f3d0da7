"""One forward pass: exact logits, in dataset order, of a model in eval mode that stays as it was.

Two gloo ranks predict sets of 0 to 1,000 samples, so also fewer batches than ranks. A network that
answers with the number of its image shows the order, and notes which images it was shown.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.images.samples import Samples, TensorSource
from supreme_core.engine.ranks.device import EVALUATION_BATCH
from supreme_core.engine.ranks.ranks import Ranks
from tests.builders import tiny_network, tiny_samples
from tests.real_ranks import on_two_ranks
from tests.simulated_gpu import GPU, MPS, simulated_gpu

ALONE = Ranks.alone(torch.device("cpu"))
SIZES = (0, 1, 88, EVALUATION_BATCH["cpu"], EVALUATION_BATCH["cpu"] + 1, 600, 1000)

every_size = pytest.mark.parametrize("size", SIZES)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(THREADS)


class Numbers(nn.Module):
    """Answers with the one pixel of each image, and remembers all that it was asked."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen += images.flatten().tolist()
        return images.flatten(1)


def numbered(size, device="cpu"):
    """Image i has the one pixel `size - i`."""
    pixels = torch.arange(size, 0, -1, dtype=torch.float32).view(-1, 1, 1, 1).to(device)
    labels = torch.zeros(size, dtype=torch.int64, device=device)
    return Samples(TensorSource(pixels), torch.arange(size), labels)


def everything(ranks):
    """Logits of a network, and which images another was shown and what it said, for each size."""
    found = {}
    for size in SIZES:
        numbers = Numbers()
        said = predict(numbers, numbered(size), classes=1, ranks=ranks)
        logits = predict(tiny_network(3), tiny_samples(size), classes=4, ranks=ranks)
        found[size] = {"logits": logits, "said": said, "seen": numbers.seen}
    return found


@pytest.fixture(scope="module")
def two():
    return on_two_ranks(everything)


@every_size
def test_logits_equal_one_big_forward_pass(size):
    samples = tiny_samples(size)
    with torch.no_grad():
        expected = tiny_network(3)(samples.batch(torch.arange(size)).images).numpy()

    actual = predict(tiny_network(3), samples, classes=4, ranks=ALONE)

    assert actual.dtype == np.float32
    assert actual.shape == (size, 4)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("device", "passes"), [(GPU, [512, 188]), (MPS, [256, 256, 188])])
def test_images_of_one_pass_are_as_many_as_the_kind_of_device_has(device, passes):
    class Counted(Numbers):
        def forward(self, images):
            self.seen.append(len(images))
            return images.flatten(1)

    counted = Counted()
    with simulated_gpu(device):
        samples = numbered(sum(passes), device)
        said = predict(counted, samples, classes=1, ranks=Ranks.alone(device))
    assert counted.seen == passes
    assert said.flatten().tolist() == list(range(sum(passes), 0, -1))


def test_logits_follow_the_order_of_the_samples_and_not_that_of_the_source():
    samples = numbered(600).take(torch.arange(599, -1, -2))
    logits = predict(Numbers(), samples, classes=1, ranks=ALONE)
    assert logits[:, 0].tolist() == list(range(1, 601, 2))


@every_size
def test_two_ranks_give_the_bits_of_one(two, size):
    expected = predict(tiny_network(3), tiny_samples(size), classes=4, ranks=ALONE)
    for rank in two:
        assert rank[size]["logits"].shape == expected.shape
        assert rank[size]["logits"].tobytes() == expected.tobytes()


@every_size
def test_defect_05_two_ranks_see_every_sample_exactly_once(two, size):
    """The reference's sampler repeats samples until every rank has as many, and counts them."""
    expected = list(range(size, 0, -1))
    assert two[0][size]["seen"] + two[1][size]["seen"] == expected
    assert [rank[size]["said"][:, 0].tolist() for rank in two] == [expected, expected]


def test_defect_02_a_model_in_train_mode_is_asked_in_eval_mode_and_does_not_change():
    """The reference never calls eval() on its reference, and its metrics move the statistics."""
    model = tiny_network(3).train()
    before = copy.deepcopy(model.state_dict())

    logits = predict(model, tiny_samples(300), classes=4, ranks=ALONE)

    expected = predict(tiny_network(3).eval(), tiny_samples(300), classes=4, ranks=ALONE)
    assert logits.tobytes() == expected.tobytes()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_mode_of_the_model_is_as_it_was(training):
    model = tiny_network(3).train(training)
    predict(model, tiny_samples(10), classes=4, ranks=ALONE)
    assert {module.training for module in model.modules()} == {training}


def test_a_frozen_layer_of_a_training_model_stays_frozen():
    model = tiny_network(3).train()
    model[1].eval()
    predict(model, tiny_samples(10), classes=4, ranks=ALONE)
    assert [module.training for module in model] == [True, False, True, True, True]


def test_logits_that_are_not_finite_come_back_as_they_are():
    """Metrics decide what a diverged model is worth."""
    model = tiny_network(3)
    nn.init.constant_(model[4].bias, float("nan"))
    assert np.isnan(predict(model, tiny_samples(3), classes=4, ranks=ALONE)).all()


def test_logits_in_half_precision_are_handed_out_in_single():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Half())
    assert predict(model, tiny_samples(3), classes=4, ranks=ALONE).dtype == np.float32


class Half(nn.Module):
    def forward(self, logits):
        return logits.half()
