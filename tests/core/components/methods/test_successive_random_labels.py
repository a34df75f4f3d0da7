"""Labels of the forget set by epoch; test_random_labels.py shows that they are wrong."""

import torch

from supreme_core.components.methods.successive_random_labels import (
    SuccessiveRandomLabelsParams,
    successive_random_labels,
)
from supreme_core.engine.toolbox.relabelling import wrong_labels
from supreme_core.engine.training.loss import cross_entropy
from tests.builders import RecordingTask, tiny_task


def seen(epochs):
    """The task, and the (ids, labels) of every step that was trained on."""
    task, steps = tiny_task(kind=RecordingTask, forget_classes=()), []

    def note(model, batch):
        steps.append((batch.ids, batch.labels))
        return cross_entropy(model, batch)

    params = SuccessiveRandomLabelsParams(epochs=epochs, batch_size=100)
    successive_random_labels(task, params)
    samples, how = task.phases["relabelled"]
    again = tiny_task(kind=RecordingTask, forget_classes=())
    again.fit(samples, name="relabelled", **how, loss=note)
    merged = []
    for first, second in zip(steps[::2], steps[1::2], strict=True):  # two micro-batches a step
        merged.append([torch.cat(pair) for pair in zip(first, second, strict=True)])
    return task, merged


def test_every_epoch_has_the_forget_set_with_labels_of_its_own_then_the_retain_set():
    task, steps = seen(epochs=3)
    forget_steps, retain_steps = steps[::2], steps[1::2]
    assert len(forget_steps) == len(retain_steps) == 3
    for epoch, (ids, labels) in enumerate(forget_steps):
        order = ids.argsort()
        assert torch.equal(ids[order], task.forget.ids.sort().values)
        assert torch.equal(labels[order], wrong_labels(task, "labels", epoch))
    for ids, labels in retain_steps:
        order = ids.argsort()
        assert torch.equal(ids[order], task.retain.ids)
        assert torch.equal(labels[order], task.retain.labels)


def test_labels_of_two_epochs_differ():
    task, _ = seen(epochs=1)
    assert not torch.equal(wrong_labels(task, "labels", 0), wrong_labels(task, "labels", 1))
