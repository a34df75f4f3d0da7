"""Unlearning by a program of one's own: a network, samples and a method, and no trainer.

task      the parts of the training set | validation | networks of the same kind
requests  one after another, each on what the one before left, with numbers and modules of its own
model     a registered method, whose bits repeat

That the trainer's numbers come about in just this way is seen in tests/trainer/test_scenarios.py.
"""

import numpy as np
import pytest
import torch

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.split import Request, Split
from supreme_core.engine.networks.architecture import Architecture
from supreme_core.engine.networks.factory import NetworkFactory
from supreme_core.engine.networks.model_samples import model_samples, model_shape
from supreme_core.engine.toolbox.unlearning import UnlearningProblem
from tests.builders import digest, plain

CPU = torch.device("cpu")


def chosen(kind, name, **params):
    return kind.resolve(Component(name=name, params=params), at="here")


@pytest.fixture(scope="module")
def images():
    return chosen(registry.dataset, "digits", size=8)()


@pytest.fixture(scope="module")
def networks(images):
    architecture = Architecture.of(chosen(registry.model, "resnet18", width=2))
    shape = model_shape(images, architecture)
    return NetworkFactory(architecture=architecture, shape=shape, device=CPU)


def problem(images, networks, split, **changes):
    train, _ = model_samples(images, networks.architecture, CPU, "Resident")
    fields = {"networks": networks, "train": train, "split": split, "forgets": "classes"}
    return UnlearningProblem(**{**fields, "numerics": plain(), **changes})


def parted(**changes):
    """100 samples to forget, 100 to retain."""
    forget, retain, nothing = np.arange(100), np.arange(100, 200), np.arange(0)
    return Split(forget, retain, nothing, nothing, (), **changes)


def noted(method=lambda task: None):
    """A method that notes its tasks, and the weights that it meets."""
    tasks = []

    def note(task):
        tasks.append((task, digest(task.model)))
        method(task)

    return note, tasks


def add_one(task):
    with torch.no_grad():
        list(task.model.parameters())[-1].add_(1.0)


def test_a_registered_method_unlearns(images, networks):
    finetune = chosen(registry.method, "finetune", epochs=1)
    weights = networks.new(3).state_dict()

    once, again, other = (
        digest(
            problem(images, networks, parted()).unlearn(
                finetune, networks.with_weights(weights), seed=seed
            )
        )
        for seed in (5, 5, 6)
    )

    assert once == again
    assert len({digest(networks.with_weights(weights)), once, other}) == 3


def test_a_task_has_the_parts_of_the_training_set(images, networks):
    split = parted(validation=np.arange(200, 220), forget_validation=np.arange(200, 205))
    method, tasks = noted()
    problem(images, networks, split, forgets="samples").unlearn(method, networks.new(1), seed=2)

    ((task, _),) = tasks
    assert task.forget.ids.tolist() == list(range(100))
    assert task.retain.ids.tolist() == list(range(100, 200))
    assert task.validation.ids.tolist() == list(range(200, 220))
    assert task.forget_validation.ids.tolist() == list(range(200, 205))
    assert task.forget.labels.tolist() == images.train_labels[:100].tolist()
    assert (task.forgets, task.seed) == ("samples", 2)
    assert digest(task.new_model("a")) == digest(task.random_model("a")) != digest(task.model)


def test_without_validation_samples_there_are_none(images, networks):
    method, tasks = noted()
    problem(images, networks, parted()).unlearn(method, networks.new(1), seed=2)
    assert (tasks[0][0].validation, tasks[0][0].forget_validation) == (None, None)


def test_requests_come_one_after_another(images, networks):
    first, second = np.arange(50), np.arange(50, 100)
    sequence = (
        Request(first, np.arange(50, 200), ()),
        Request(second, np.arange(100, 200), (3,)),
    )
    method, tasks = noted(add_one)
    model = networks.new(1)
    before = digest(model)

    left = problem(images, networks, parted(sequence=sequence)).unlearn(method, model, seed=2)

    (one, met), (two, met_then) = tasks
    assert met == before
    assert met_then == digest(one.model)
    assert digest(left) == digest(two.model) != met_then
    assert two.model is not one.model
    assert two.seed != one.seed
    assert [task.forget_classes for task in (one, two)] == [(), (3,)]
    assert two.forget.ids.tolist() == second.tolist()
    assert two.retain.ids.tolist() == list(range(100, 200))
