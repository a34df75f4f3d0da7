"""Early stop against trainings of fewer epochs: it ends with the first that is at the target."""

import pytest

from supreme_core.components.methods.neg_grad import NegGradParams, neg_grad
from supreme_core.components.wrappers.early_stop import EarlyStopParams, early_stop
from tests.builders import RecordingTask, digest
from tests.core.components.wrappers.inside import chosen, task_of

EPOCHS = 8


def climbed(epochs):
    return lambda task: neg_grad(task, NegGradParams(epochs=epochs, lr=5e-3, batch_size=4))


@pytest.fixture(scope="module")
def alone():
    """The task after each number of epochs."""
    tasks = [task_of() for _ in range(EPOCHS)]
    for n, task in enumerate(tasks, start=1):
        climbed(n)(task)
    return tasks


@pytest.mark.parametrize("accuracy", [0.6, 0.3, 0.0, None])
def test_it_ends_with_the_first_epoch_at_the_target(alone, accuracy):
    def is_there(task):
        target = task.accuracy(task.forget_validation) if accuracy is None else accuracy
        return task.accuracy(task.forget) <= target

    expected = next((task for task in alone if is_there(task)), alone[-1])
    task = task_of()
    early_stop(climbed(EPOCHS), task, EarlyStopParams(accuracy=accuracy))
    assert digest(task.model) == digest(expected.model)


def test_what_would_have_come_after_is_left_out():
    task = task_of(kind=RecordingTask)
    early_stop(chosen("scrub"), task, EarlyStopParams(accuracy=1))
    assert list(task.phases) == ["ascent and descent"]


def test_an_outer_one_ends_what_an_inner_one_would_let_go_on():
    def inner(task):
        early_stop(climbed(EPOCHS), task, EarlyStopParams(accuracy=0))

    task, expected = task_of(), task_of()
    early_stop(inner, task, EarlyStopParams(accuracy=1))
    climbed(1)(expected)
    assert digest(task.model) == digest(expected.model)


def test_only_the_accuracy_of_unseen_samples_needs_some():
    assert EarlyStopParams().needs() == ("validation",)
    assert EarlyStopParams(accuracy=0.1).needs() == ()
