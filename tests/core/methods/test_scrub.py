"""SCRUB against a plain loop with one Adam and the objective as the paper writes it."""

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core import seeds
from supreme_core.api.model import parse
from supreme_core.engine.order import one_after_other, shuffled
from supreme_core.methods.scrub import ScrubParams, scrub
from tests.builders import RecordingTask, digest, plain, tiny_network, tiny_task

BATCH_SIZE = 20


def scrubbed(**params):
    task = tiny_task(kind=RecordingTask, arithmetic=plain(1))
    scrub(task, parse(ScrubParams, {"batchSize": BATCH_SIZE, **params}))
    return task


def objective(student, teacher, batch, *, forgotten):
    """Of a batch, with the default temperature and weights."""
    logits = student(batch.images)
    target = functional.softmax(teacher(batch.images).detach() / 2, dim=1)
    log_ratio = target.log() - functional.log_softmax(logits / 2, dim=1)
    away = 4 * (target * log_ratio).sum(dim=1).mean()
    right = functional.cross_entropy(logits, batch.labels)
    return -away if forgotten else 0.5 * away + right


def steps(task, epoch, *, ascents):
    """(batch, forgotten) of an epoch, in the order that the method has it in."""
    phase = "ascent and descent" if epoch < ascents else "descent"
    number = epoch if epoch < ascents else epoch - ascents
    seed = seeds.derive(seeds.derive(task.seed, phase), "order", number)
    if epoch < ascents:
        order = one_after_other(len(task.forget), len(task.retain), batch_size=BATCH_SIZE)
        everything = task.forget.join(task.retain)
        for positions in order(number, seed):
            yield everything.batch(positions), bool((positions < len(task.forget)).all())
    else:
        for positions in shuffled(len(task.retain), BATCH_SIZE)(number, seed):
            yield task.retain.batch(positions), False


def by_hand(task, *, epochs, ascents, distance):
    model, teacher = tiny_network(3).train(), tiny_network(3)
    adam = optim.Adam(model.parameters(), weight_decay=0.1)
    for epoch in range(epochs):
        for group in adam.param_groups:
            group["lr"] = 0.01 * 0.1 ** ((epoch >= 1) + (epoch >= 2))
        for batch, forgotten in steps(task, epoch, ascents=ascents):
            loss = objective(model, teacher, batch, forgotten=forgotten)
            for weights, original in zip(model.parameters(), teacher.parameters(), strict=True):
                loss = loss + distance * (weights - original.detach()).norm()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return model


@pytest.mark.parametrize("distance", [0, 0.3])
@pytest.mark.parametrize(("epochs", "ascents"), [(3, 2), (2, 0)], ids=str)
def test_scrub_is_a_plain_loop_over_both_sets(epochs, ascents, distance):
    settings = {"epochs": epochs, "ascentEpochs": ascents, "distance": distance}
    task = scrubbed(**settings, lr=0.01, milestones=[1, 2])
    expected = by_hand(task, epochs=epochs, ascents=ascents, distance=distance)
    for one, other in zip(task.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_there_are_no_more_ascents_than_epochs():
    long, short = (scrubbed(epochs=2, ascentEpochs=ascents) for ascents in (9, 2))
    assert digest(long.model) == digest(short.model)


def test_the_distance_keeps_the_student_near_the_original():
    distances = []
    for weight in (0, 5):
        model = scrubbed(distance=weight, epochs=3).model
        pairs = zip(model.parameters(), tiny_network(3).parameters(), strict=True)
        distances.append(sum((one - other).norm().item() for one, other in pairs))
    assert distances[1] < 0.8 * distances[0]
