"""Unlearning on a network and data of one's own: the engine's numbers, by plain arguments.

numbers   those of an UnlearningProblem, whatever kind of data set the images come from
model     a network of torchvision | the one that was given stays as it was
methods   one for each thing that a task has: a head, fresh networks, the range of pixels, noise
scenario  whole classes or single samples, as the labels say
errors    the argument, what came, what is allowed

Left out: what the methods compute (tests/core/components/methods).
"""

import inspect
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.models import resnet18

from supreme_core import registry, unlearn
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.split import Split
from supreme_core.engine.images.randomness import global_seed
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.toolbox.unlearning import UnlearningProblem
from supreme_core.errors import MethodFailed, SpecError
from tests.builders import TINY_SHAPE, digest, plain, tiny_network, tiny_samples

SAMPLES = tiny_samples()
WHOLE = SAMPLES.batch(SAMPLES.ids)
CLASS, REST = (WHOLE.labels == 1).nonzero().flatten(), (WHOLE.labels != 1).nonzero().flatten()


def tensors(positions):
    return TensorDataset(WHOLE.images[positions], WHOLE.labels[positions])


FORGET, RETAIN = tensors(CLASS), tensors(REST)


class ByHand(Dataset):
    """Images one by one, with labels that are plain numbers."""

    def __init__(self, positions):
        self.positions = positions.tolist()

    def __len__(self):
        return len(self.positions)

    def __getitem__(self, number):
        position = self.positions[number]
        return WHOLE.images[position], int(WHOLE.labels[position])


def by_the_engine(method, **params):
    """The same as an experiment would do it, from uint8 images that it normalises itself."""
    order = torch.cat([CLASS, REST])
    count, nothing = len(CLASS), np.arange(0)
    everything = np.arange(len(order))
    problem = UnlearningProblem(
        networks=NetworkFactory(
            architecture=Architecture(build=lambda shape: tiny_network(0)),
            shape=TINY_SHAPE,
            device=torch.device("cpu"),
        ),
        train=SAMPLES.take(order),
        split=Split(everything[:count], everything[count:], nothing, nothing, (1,)),
        forgets="classes",
        numerics=plain(micro_batches=1),
    )
    chosen = registry.method.resolve(Component(name=method, params=params), at="here")
    return problem.unlearn(chosen, tiny_network(1), seed=3)


@pytest.mark.parametrize("kind", [tensors, ByHand])
@pytest.mark.parametrize(
    ("method", "params"),
    [("ssd", {"alpha": 1, "lambda": 0.5}), ("finetune", {"epochs": 1, "batchSize": 16})],
)
def test_the_numbers_are_those_of_the_engine(method, params, kind):
    settings = {
        {"lambda": "lambda_", "batchSize": "batch_size"}.get(k, k): params[k] for k in params
    }
    unlearned = unlearn(tiny_network(1), kind(CLASS), kind(REST), method, seed=3, **settings)
    assert digest(unlearned) == digest(by_the_engine(method, **params)) != digest(tiny_network(1))


def test_a_model_of_torchvision_forgets_and_the_given_one_stays():
    with global_seed(2):
        model = resnet18(num_classes=4).train()
        images = torch.randn(24, 3, 32, 32)
    before = digest(model)
    labels = torch.arange(24) % 4
    forget, retain = (TensorDataset(images[at], labels[at]) for at in (labels == 0, labels > 0))

    unlearned = unlearn(model, forget, retain, method="ssd", alpha=1)

    assert digest(model) == before != digest(unlearned)
    assert model.training
    assert not unlearned.training
    assert isinstance(unlearned, type(model))
    changed = [
        name
        for name, weights in unlearned.named_parameters()
        if not torch.equal(weights, model.get_parameter(name))
    ]
    assert "fc.weight" in changed
    with torch.inference_mode():
        assert unlearned(images).shape == (24, 4)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("esc", {}),
        ("eu_k", {"epochs": 1}),
        ("bad_teacher", {"epochs": 1}),
        ("boundary_shrink", {"epochs": 1}),
        ("jit", {}),
        ("unsir", {"noise_steps": 2, "copies": 2}),
    ],
)
def test_a_method_has_all_that_it_asks_for(method, settings):
    model = tiny_network(1)
    once, again = (unlearn(model, FORGET, RETAIN, method, seed=3, **settings) for _ in range(2))
    assert digest(once) == digest(again) != digest(model)


def test_a_network_that_new_model_gives_stays_as_it_was():
    model = tiny_network(1)
    before = digest(model)
    unlearn(model, FORGET, RETAIN, "eu_k", new_model=lambda: model, epochs=1)
    assert digest(model) == before


def test_numbers_of_numpy_and_torch_are_numbers():
    given = {"epochs": np.int64(1), "lr": torch.tensor(0.5)}
    found = unlearn(tiny_network(1), FORGET, RETAIN, "finetune", seed=np.int64(3), **given)
    wanted = unlearn(tiny_network(1), FORGET, RETAIN, "finetune", seed=3, epochs=1, lr=0.5)
    assert digest(found) == digest(wanted)


def test_an_untrained_model_may_be_given():
    asked = []

    def new_model():
        asked.append(tiny_network(7))
        return asked[-1]

    unlearn(tiny_network(1), FORGET, RETAIN, "bad_teacher", new_model=new_model, epochs=1)
    assert asked


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(("method", "settings"), [("ssd", {}), ("finetune", {"epochs": 1})])
def test_a_caller_who_needs_no_gradients_gets_the_same_model(mode, method, settings):
    wanted = unlearn(tiny_network(1), FORGET, RETAIN, method, **settings)
    model = tiny_network(1)
    with mode():
        found = unlearn(model, FORGET, RETAIN, method, **settings)
    assert digest(found) == digest(wanted)


class WithLock(nn.Linear):
    """A part that nothing can copy."""

    def __init__(self):
        super().__init__(64, 4)
        self.locked = threading.Lock()


class WithToken(nn.Module):
    """A parameter of no layer, as that of a vision transformer's class token."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(1))
        self.network = tiny_network(1)

    def forward(self, images):
        return self.network(images) * self.token


NAN = torch.full((1, 8, 8), torch.nan)


def spoilt():
    network = tiny_network(1)
    next(network.parameters()).data.fill_(torch.nan)
    return network


def gives(network):
    return {"method": "bad_teacher", "new_model": lambda: network}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "sdd"}, "unknown method 'sdd'; did you mean 'ssd'?"),
        ({"alhpa": 3}, "settings.alhpa: unknown field 'alhpa'; did you mean 'alpha'?"),
        ({"method": None}, "method is None; allowed: a name that `supreme list method` shows"),
        ({"seed": "1"}, "seed is '1'; allowed: a whole number from 0 to 4294967295"),
        ({"seed": -1}, "seed is -1; allowed: a whole number from 0"),
        ({"seed": 1.5}, "seed is 1.5; allowed: a whole number from 0"),
        ({"model": spoilt()}, "model has non-finite numbers in "),
        (
            {"model": tiny_network(1).requires_grad_(False)},
            "model has no parameter that requires a gradient; call requires_grad_() on those",
        ),
        ({"retain": [(NAN, 0)]}, "retain[0] has an image with values that are not finite"),
        ({"retain": [(WHOLE.images[0], 1.5)]}, "retain[0] has a label 1.5 of type float; allowed"),
        ({"retain": [(WHOLE.images[0], "1")]}, "retain[0] has a label '1' of type str; allowed"),
        ({"new_model": 3}, "new_model is of type int; allowed: a function"),
        (gives(3), "new_model gives an object of type int; allowed: a torch.nn.Module"),
        (
            gives(nn.Sequential(nn.Flatten(), nn.Linear(64, 4))),
            "new_model gives a network whose weights are not shaped as those of model, such as '0.",
        ),
        ({"alpha": -1}, "settings.alpha is -1; it should be greater than 0"),
        ({"model": "resnet18"}, "model is of type str; allowed: a torch.nn.Module with parameters"),
        ({"model": nn.Conv2d(1, 4, 3)}, "model gives (1, 4, 6, 6) for one image; allowed: logits"),
        ({"model": WithLock()}, "model cannot be copied: cannot pickle '_thread.lock' object"),
        ({"alpha": 1, "batchSize": 8, "batch_size": 8}, "settings has batch_size and batchSize, w"),
        ({"model": nn.Linear(5, 4)}, "model cannot see an image (1, 8, 8): "),
        ({"forget": tensors(CLASS[:0])}, "forget has no sample; at least 1 is needed"),
        (
            {"retain": None},
            "retain is of type NoneType; allowed: a torch.utils.data.Dataset with a length",
        ),
        ({"forget": [1, 2]}, "forget[0] is of type int; allowed: (image, label)"),
        (
            {"forget": [(torch.zeros(1, 8, 8, dtype=torch.uint8), 1)]},
            "forget[0] has an image of torch.uint8; allowed: (image, label)",
        ),
        (
            {"retain": [(torch.zeros(1, 8, 8), 0), (torch.zeros(1, 9, 9), 0)]},
            "retain[1] has an image (1, 9, 9); allowed: (1, 8, 8), as the first one",
        ),
        (
            {"retain": [(torch.zeros(1, 8, 8), 4)]},
            "retain[0] has label 4; allowed: 0 to 3, the classes of the model",
        ),
        (
            {"retain": FORGET, "method": "unsir"},
            "method is 'unsir', which forgets whole classes, and retain has samples of every class",
        ),
        (
            {"model": WithToken(), "method": "bad_teacher"},
            "method is 'bad_teacher', which needs an untrained model, and 'token' of model cannot",
        ),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), "method": "ct"},
            "method is 'ct', which needs convolutions whose windows overlap, and model has none",
        ),
    ],
)
def test_what_cannot_be_used_is_told(changes, message):
    arguments = {"model": tiny_network(1), "forget": FORGET, "retain": RETAIN, **changes}
    with pytest.raises(SpecError) as error:
        unlearn(**arguments)
    assert message in str(error.value)


def test_a_method_that_diverges_is_a_failure():
    with pytest.raises(MethodFailed):
        unlearn(tiny_network(1), FORGET, RETAIN, "neg_grad", lr=1e30, epochs=3)


@pytest.mark.parametrize("entry", registry.method.entries(), ids=lambda entry: entry.name)
def test_no_setting_is_called_like_an_argument(entry):
    assert not inspect.signature(unlearn).parameters.keys() & entry.params.model_fields.keys()
