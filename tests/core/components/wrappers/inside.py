"""Methods of every kind to wrap, and a task with validation samples."""

from supreme_core import registry
from supreme_core.api.model import parse
from tests.builders import tiny_task, tiny_validation

METHODS = {
    "finetune": {"epochs": 3, "batchSize": 10},
    "neg_grad": {"epochs": 3, "batchSize": 5},
    "scrub": {"epochs": 3, "ascentEpochs": 1, "batchSize": 10},
    "duck": {"epochs": 3, "batchSize": 10, "targetAccuracy": 0},
    "ssd": {"alpha": 1.5},
    "boundary_expand": {"epochs": 2, "batchSize": 5},
}
"""One training, several in turn with one optimiser, a loop of trainings, none, and one in which the
head is another meanwhile."""


def chosen(name):
    """The method with its settings, as a wrapper gets it."""
    entry = registry.method.get(name)
    params = parse(entry.params, METHODS[name])
    return lambda task: entry.function(task, params)


def task_of(**changes):
    """A task with validation samples; those with label 1 are like the ones to be forgotten."""
    validation = tiny_validation()
    alike = validation.take((validation.labels == 1).nonzero().flatten())
    return tiny_task(validation=validation, forget_validation=alike, **changes)
