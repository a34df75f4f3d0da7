"""Curves of trainings: what a loop that looks at each batch by itself sees, and no bit more.

numbers   loss, accuracy and rate of each epoch | several micro-batches and ranks | marked samples
whole     after an interruption | of many epochs some, and the last
bits      those of a training without
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn, optim
from torch.nn import functional

from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.signed_labels import marked, unmarked
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.curve import MOST_POINTS, TrainingCurve, document, judged
from supreme_core.engine.training.data_parallel import DataParallelGradients
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from tests.builders import alone, plain, tiny_network, tiny_samples
from tests.real_ranks import on_ranks

EPOCHS, SIZE = 3, 20


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.9)


HOW = Fit(epochs=EPOCHS, batch_size=SIZE, optimizer=sgd, rate=lambda epoch: 0.5 ** int(epoch))


def trained(numerics, *, samples=None, how=HOW, loss=cross_entropy, model=None):
    """The curves of a training."""
    checkpoints = Checkpoints.none(numerics.reduction.ranks)
    fit(
        model or tiny_network(1),
        samples or tiny_samples(),
        how,
        seed=3,
        numerics=numerics,
        report=unreported,
        loss=loss,
        checkpoints=checkpoints,
        name="by hand",
    )
    return document(checkpoints.curves)


class Watching(nn.Module):
    """A network that notes what it is asked and answers."""

    def __init__(self):
        super().__init__()
        self.network, self.seen = tiny_network(1), []

    def forward(self, images):
        logits = self.network(images)
        self.seen.append(logits.detach())
        return logits


def test_it_says_what_each_batch_was_like_before_its_step():
    asked = []

    def loss(model, batch):
        asked.append(batch.labels)
        return cross_entropy(model, batch)

    model = Watching()
    (curve,) = trained(plain(micro_batches=1), model=model, loss=loss)

    assert curve["name"] == "by hand"
    assert curve["epoch"] == [1, 2, 3]
    assert curve["rate"] == [0.1, 0.05, 0.025]
    steps = math.ceil(48 / SIZE)
    for epoch in range(EPOCHS):
        part = slice(epoch * steps, (epoch + 1) * steps)
        logits, labels = torch.cat(model.seen[part]), torch.cat(asked[part])
        assert len(labels) == 48
        assert curve["loss"][epoch] == pytest.approx(
            float(functional.cross_entropy(logits, labels)), rel=1e-5
        )
        assert curve["accuracy"][epoch] == int((logits.argmax(1) == labels).sum()) / 48


def test_whole_batches_have_the_curve_of_one_micro_batch():
    whole = trained(plain(micro_batches=4, batch_norm="batch"))
    (expected,), (found,) = trained(plain(micro_batches=1)), whole
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["accuracy"] == expected["accuracy"]


def on_a_rank(ranks):
    return trained(NumericsPolicy(Reduction(ranks, 2)))


def in_parallel(ranks):
    assert NumericsPolicy(Reduction(ranks, 2), overlapped=True).gradients(
        tiny_network(1), tiny_samples(), cross_entropy, lambda loss: loss, steps=1
    ).__class__ in (DataParallelGradients,)
    return trained(NumericsPolicy(Reduction(ranks, 2), overlapped=True))


def test_every_rank_has_the_curve_of_all():
    alone_ = trained(NumericsPolicy(alone(2)))
    assert on_ranks(2, on_a_rank) == [alone_] * 2
    one, other = on_ranks(2, in_parallel)
    assert one == other
    assert one[0]["accuracy"] == pytest.approx(alone_[0]["accuracy"], abs=0.1)


def test_a_mark_is_no_label():
    samples = tiny_samples()
    forget, retain = samples.take(torch.arange(10)), samples.take(torch.arange(10, 48))

    def loss(model, batch):
        return cross_entropy(model, unmarked(batch))

    how = replace(HOW, epochs=1, batch_size=48)
    (curve,) = trained(plain(), samples=marked(forget, retain), how=how, loss=loss)
    batch, model = retain.batch(torch.arange(38)), tiny_network(1)
    assert 0 <= curve["accuracy"][0] <= 1
    assert judged(model(batch.images), batch)[1] == 38
    both = marked(forget, retain).batch(torch.arange(48))
    assert judged(model(both.images), both).tolist()[1] == 38
    assert judged("no logits", both).tolist() == [0, 0]


def test_a_training_that_goes_on_has_the_curve_of_one_that_was_not_stopped():
    whole, parts = TrainingCurve(), TrainingCurve()
    for step in range(7):
        arguments = {
            "epoch": step // 3 + 1,
            "rate": 0.1,
            "loss": torch.tensor(1.0 / (step + 1)),
            "counts": torch.tensor([step, 8.0]),
            "samples": 8,
        }
        whole.add(**arguments)
        parts.add(**arguments)
        memory, parts = {key: value.clone() for key, value in parts.memory.items()}, TrainingCurve()
        parts.memory |= memory
    assert parts.points() == whole.points()
    assert whole.points()["accuracy"] == [3 / 24, 12 / 24, 6 / 8]


def test_of_many_points_some_are_kept_and_the_last():
    curve = TrainingCurve(name="long")
    numbers = torch.arange(1.0, 3 * MOST_POINTS + 1)
    curve.memory["rows"] = curve.memory["row_sums"] = torch.stack([numbers] * 3, dim=1)
    (found,) = document([curve, TrainingCurve(name="nothing")])
    assert len(found["epoch"]) <= MOST_POINTS + 1
    assert (found["epoch"][0], found["epoch"][-1]) == (1, 3 * MOST_POINTS)


def test_what_is_not_finite_is_not_known():
    curve = TrainingCurve()
    curve.add(epoch=1, rate=0.1, loss=torch.tensor(math.nan), counts=torch.zeros(2), samples=4)
    assert curve.points() == {"epoch": [1], "rate": [0.1], "loss": [None], "accuracy": [None]}
