"""Labels that the forget set gets; the rest of the data stays as it is."""

from dataclasses import replace

import pytest
import torch

from supreme_core.components.methods.random_labels import RandomLabelsParams, random_labels
from tests.builders import RecordingTask, tiny_samples, tiny_task


def relabelled(**changes):
    """The task with 1,200 more or less equal samples to forget, and what it was trained on."""
    task = tiny_task(kind=RecordingTask, **changes)
    many = torch.arange(len(task.forget)).repeat(1200 // len(task.forget))
    task = replace(task, forget=task.forget.take(many))
    random_labels(task, RandomLabelsParams(epochs=0))
    samples, _ = task.phases["relabelled"]
    return task, samples


@pytest.mark.parametrize("classes", [(1,), (0, 3)], ids=str)
def test_class_scenarios_draw_evenly_from_the_classes_that_stay(classes):
    task, samples = relabelled(forget_classes=classes)
    drawn = samples.labels[: len(task.forget)].bincount(minlength=4)
    stay = [label for label in range(4) if label not in classes]
    assert drawn[list(classes)].sum() == 0
    share = 1200 / len(stay)
    assert all(abs(int(drawn[label]) - share) < 5 * share**0.5 for label in stay)


def test_single_samples_get_any_label_but_the_true_one():
    task, samples = relabelled(forget_classes=())
    true, drawn = task.forget.labels, samples.labels[: len(task.forget)]
    assert not (true == drawn).any()
    for label in range(4):
        of_label = drawn[true == label].bincount(minlength=4)
        share = int((true == label).sum()) / 3
        others = [other for other in range(4) if other != label]
        assert all(abs(int(of_label[other]) - share) < 5 * share**0.5 for other in others)


def test_parts_of_classes_get_any_label_but_the_true_one():
    """The true one stays valid for what is retained of the class, but not for what is forgotten."""
    task, samples = relabelled(forget_classes=(1,), partly=True)
    drawn = samples.labels[: len(task.forget)].bincount(minlength=4)
    assert drawn[1] == 0
    assert all(abs(int(drawn[label]) - 400) < 5 * 400**0.5 for label in (0, 2, 3))
    assert (task.retain.labels == 1).sum() == 6


def test_retained_samples_keep_their_labels_and_images_stay_in_order():
    task, samples = relabelled()
    border = len(task.forget)
    assert torch.equal(samples.labels[border:], task.retain.labels)
    assert torch.equal(samples.ids, torch.cat([task.forget.ids, task.retain.ids]))


def test_labels_are_drawn_once_for_all_epochs():
    """Trained as on the samples that were labelled beforehand, three epochs long."""
    task = tiny_task(kind=RecordingTask)
    random_labels(task, RandomLabelsParams())
    samples, how = task.phases["relabelled"]
    again = tiny_task()
    again.fit(samples, name="relabelled", **how)
    states = zip(task.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert how["epochs"] == 3
    assert all(torch.equal(one, other) for one, other in states)


def test_the_given_samples_keep_their_labels():
    task, _ = relabelled()
    assert torch.equal(task.retain.labels, tiny_samples().labels[task.retain.ids])
    assert (task.forget.labels == 1).all()
