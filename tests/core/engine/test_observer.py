"""Observers of trainings: when they are told, what they remember after an interruption, that they
see the model in the arithmetic of evaluation, and the best epoch against one training for each."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import optim

from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.evaluation.reproducibility import THREADS
from supreme_core.engine.ranks.interruption import Interruption, Terminated
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.observer import Frozen, Observer
from supreme_core.engine.training.selection import BestEpoch
from tests.builders import Slot, digest, plain, tiny_network, tiny_samples, tiny_validation
from tests.real_ranks import on_two_ranks

ALONE = Ranks.alone(torch.device("cpu"))
EPOCHS, STEPS = 3, 5


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(THREADS)


def sgd(parameters, lr=0.1):
    return optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=1e-2)


def fitted(model, *observers, epochs=EPOCHS, numerics=None, **changes):
    """The model after epochs of five steps."""
    how = Fit(epochs=epochs, batch_size=10, optimizer=sgd, observers=observers)
    settings = {"report": unreported, "seed": 5} | changes
    fit(model, tiny_samples(), how, numerics=numerics or plain(1), **settings)
    return model


@dataclass
class Diary(Observer):
    """Remembers the mean of a weight after each epoch, and how often it was told of a step."""

    model: torch.nn.Module
    steps: int = 0

    def after_step(self):
        self.steps += 1

    def after_epoch(self):
        number = len(self.memory)
        self.memory[f"mean/{number}"] = self.model[-1].weight.detach().mean().clone()


def test_it_is_told_of_each_step_and_each_epoch():
    model = tiny_network(3)
    diary = Diary(model)
    fitted(model, diary)
    assert diary.steps == EPOCHS * STEPS
    assert list(diary.memory) == [f"mean/{number}" for number in range(EPOCHS)]
    assert diary.memory[f"mean/{EPOCHS - 1}"] == model[-1].weight.mean()


def test_one_that_only_looks_leaves_the_bits_alone():
    model = tiny_network(3)
    assert digest(fitted(model, Diary(model))) == digest(fitted(tiny_network(3)))


@pytest.mark.parametrize("stop_after", range(1, EPOCHS * STEPS))
def test_what_it_remembers_is_what_it_was_after_any_interruption(stop_after):
    whole = tiny_network(3)
    expected = Diary(whole)
    fitted(whole, expected)

    slot, interruption, model = Slot(), Interruption(exit_code=143), tiny_network(3)

    def report(*, done, **_):
        if done == stop_after:
            interruption.request()

    checkpoints = Checkpoints(ALONE, interruption, slot)
    with pytest.raises(Terminated):
        fitted(model, Diary(model), report=report, checkpoints=checkpoints)
    model = tiny_network(3)
    diary = Diary(model)
    fitted(model, diary, checkpoints=Checkpoints(ALONE, Interruption(exit_code=143), slot))
    assert digest(model) == digest(whole)
    assert diary.memory == expected.memory
    assert diary.steps == EPOCHS * STEPS - stop_after  # the others were not done again


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_after_an_epoch_the_model_computes_as_in_evaluation(precision):
    @dataclass
    class Looking(Observer):
        def after_epoch(self):
            self.logits = predict(model, tiny_samples(), classes=4, ranks=ALONE)

    model, looking = tiny_network(3), Looking()
    fitted(model, looking, numerics=plain(1, precision=precision))
    assert type(model) is torch.nn.Sequential
    after = predict(model, tiny_samples(), classes=4, ranks=ALONE)
    np.testing.assert_array_equal(looking.logits, after)


def test_looks_after_an_epoch_cost_nothing():
    checkpoints, looks = Checkpoints.none(ALONE), []

    @dataclass
    class Looking(Observer):
        def after_epoch(self):
            before = checkpoints.meter.so_far()
            predict(model, tiny_samples(), classes=4, ranks=ALONE)
            looks.append((before, checkpoints.meter.so_far()))

    model = tiny_network(3)
    with checkpoints.meter.measured():
        fitted(model, Looking(), checkpoints=checkpoints)
    assert len(looks) == EPOCHS
    assert all(before == after for before, after in looks)
    assert looks[0][0].device_seconds < looks[1][0].device_seconds


def test_frozen_entries_keep_their_bits_after_each_step_and_the_others_move():
    model, seen = tiny_network(3), []
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(2)
    masks = [torch.rand(each.shape, generator=generator) < 0.5 for each in parameters]
    values = [each.detach().clone() for each in parameters]

    @dataclass
    class Looking(Observer):
        def after_step(self):
            now = [each.detach().clone() for each in parameters]
            seen.append(
                all(
                    torch.equal(a[m], b[m]) and not torch.equal(a[~m], b[~m])
                    for a, b, m in zip(now, values, masks, strict=True)
                )
            )

    fitted(model, Frozen(parameters, values, masks), Looking())
    assert seen == [True] * (EPOCHS * STEPS)


def right(model, samples):
    """The share of right answers, sample by sample."""
    with torch.no_grad():
        answers = [
            model.eval()(samples.batch(torch.tensor([i])).images).argmax().item()
            for i in range(len(samples))
        ]
    return np.mean(np.array(answers) == samples.labels.numpy())


class TestBestEpoch:
    def test_it_is_the_best_of_trainings_that_end_after_each_epoch(self):
        epochs = 8
        alone = [fitted(tiny_network(3), epochs=n) for n in range(1, epochs + 1)]
        found = [right(model, tiny_validation()) for model in alone]
        best = max(range(epochs), key=lambda n: found[n])  # the first of equals
        assert 0 < best < epochs - 1  # or the test would show little

        model = tiny_network(3)
        keeper = BestEpoch(model, tiny_validation(), 4, ALONE)
        fitted(model, keeper, epochs=epochs)
        keeper.restore()
        assert digest(model) == digest(alone[best])
        assert (keeper.epoch, keeper.accuracy) == (best + 1, pytest.approx(found[best]))
        assert keeper.accuracies([1, epochs]) == pytest.approx([found[0], found[-1]])

    def test_of_equally_good_epochs_it_is_the_first(self):
        model = tiny_network(3)
        keeper = BestEpoch(model, tiny_validation(), 4, ALONE)
        keeper.after_epoch()
        first = digest(model)
        with torch.no_grad():
            model[-1].weight *= 2
            model[-1].bias *= 2  # other weights, the same answers
        keeper.after_epoch()
        assert keeper.epoch == 1
        keeper.restore()
        assert digest(model) == first

    def test_without_an_epoch_the_model_stays_as_it_is(self):
        model = tiny_network(3)
        BestEpoch(model, tiny_validation(), 4, ALONE).restore()
        assert digest(model) == digest(tiny_network(3))

    def test_two_ranks_keep_what_one_keeps(self):
        expected = kept(ALONE)
        assert on_two_ranks(kept) == [expected, expected]


def kept(ranks):
    model = tiny_network(3)
    keeper = BestEpoch(model, tiny_validation(), 4, ranks)
    fitted(model, keeper, numerics=NumericsPolicy(Reduction(ranks, micro_batches=2)))
    keeper.restore()
    return digest(model), keeper.epoch, keeper.accuracy
