"""SCRUB against a plain loop with one optimiser and the objective as the paper writes it.

settings      those of the authors' small experiments, with Adam; of their large ones, with SGD
batches       of one size; of one for each set
"""

from functools import partial

import pytest
import torch
from torch import optim
from torch.nn import functional

from supreme_core.api.model import parse
from supreme_core.components.methods.scrub import ScrubParams, scrub
from supreme_core.engine.training.sample_order import shuffled
from supreme_core.randomness import streams
from supreme_core.randomness.permutation import permutation
from tests.builders import RecordingTask, digest, plain, tiny_network, tiny_task

BATCH_SIZE = 20
SMALL = {"temperature": 2, "alpha": 0.5, "gamma": 1, "weightDecay": 0.1}
LARGE = {"temperature": 4, "alpha": 0.001, "gamma": 0.99, "weightDecay": 5e-4}
LARGE |= {"optimizer": "sgd", "momentum": 0.9, "forgetBatchSize": 5}


def scrubbed(**params):
    task = tiny_task(kind=RecordingTask, numerics=plain(1))
    scrub(task, parse(ScrubParams, {"batchSize": BATCH_SIZE, **params}))
    return task


def objective(student, teacher, batch, settings, *, forgotten):
    """Return the objective of a batch."""
    heat = settings["temperature"]
    logits = student(batch.images)
    target = functional.softmax(teacher(batch.images).detach() / heat, dim=1)
    log_ratio = target.log() - functional.log_softmax(logits / heat, dim=1)
    away = heat**2 * (target * log_ratio).sum(dim=1).mean()
    right = functional.cross_entropy(logits, batch.labels)
    return -away if forgotten else settings["alpha"] * away + settings["gamma"] * right


def steps(task, epoch, *, ascents, forget_batch):
    """(batch, forgotten) of an epoch, in the order that the method has it in."""
    phase = "ascent and descent" if epoch < ascents else "descent"
    number = epoch if epoch < ascents else epoch - ascents
    seed = streams.derive(streams.derive(task.seed, phase), "order", number)
    if epoch < ascents:
        forgotten = torch.split(
            torch.from_numpy(permutation(streams.derive(seed, "first"), len(task.forget))),
            forget_batch,
        )
        yield from ((task.forget.batch(positions), True) for positions in forgotten)
        seed = streams.derive(seed, "second")
    for positions in shuffled(len(task.retain), BATCH_SIZE)(number, seed):
        yield task.retain.batch(positions), False


def by_hand(task, settings, *, epochs, ascents, distance):
    model, teacher = tiny_network(3).train(), tiny_network(3)
    kind = partial(optim.SGD, momentum=0.9) if "optimizer" in settings else optim.Adam
    optimizer = kind(model.parameters(), lr=0.01, weight_decay=settings["weightDecay"])
    forget_batch = settings.get("forgetBatchSize", BATCH_SIZE)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * 0.1 ** ((epoch >= 1) + (epoch >= 2))
        for batch, forgotten in steps(task, epoch, ascents=ascents, forget_batch=forget_batch):
            loss = objective(model, teacher, batch, settings, forgotten=forgotten)
            for weights, original in zip(model.parameters(), teacher.parameters(), strict=True):
                loss = loss + distance * (weights - original.detach()).norm()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@pytest.mark.parametrize("distance", [0, 0.3])
@pytest.mark.parametrize(("epochs", "ascents"), [(3, 2), (2, 0)], ids=str)
@pytest.mark.parametrize("settings", [SMALL, LARGE], ids=["small", "large"])
def test_scrub_is_a_plain_loop_over_both_sets(settings, epochs, ascents, distance):
    asked = {"epochs": epochs, "ascentEpochs": ascents, "distance": distance, **settings}
    task = scrubbed(**asked, lr=0.01, milestones=[1, 2])
    expected = by_hand(task, settings, epochs=epochs, ascents=ascents, distance=distance)
    for one, other in zip(task.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_the_settings_of_the_small_experiments_are_the_defaults():
    document = ScrubParams().to_document()
    assert {name: document[name] for name in SMALL} == SMALL


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
