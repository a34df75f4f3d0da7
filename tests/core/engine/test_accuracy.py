"""One accuracy: whoever asks how often a network is right gets what its stored predictions say.

network       whole; one whose logit of class 1 is NaN, which argmax would take for the answer 1
callers       a method and what ends it, wrappers, the choice of epochs, probes, stored predictions
set           class 1, on which taking NaN for an answer would be right each time
"""

import numpy as np
import pytest
import torch

from supreme_core import registry
from supreme_core.api.model import parse
from supreme_core.components.probes.quantisation import quantisation
from supreme_core.components.probes.relearning import relearning
from supreme_core.components.wrappers.early_stop import Enough, Target
from supreme_core.components.wrappers.rewind import EveryEpoch
from supreme_core.engine.evaluation.prediction import accuracy, predict
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.selection import BestEpoch
from supreme_core.scoring.evaluation import Outputs, predicted_classes, share_right
from supreme_core.scoring.probe_settings import QuantisationSettings, RelearningSettings
from tests.builders import RecordingTask, tiny_network, tiny_task
from tests.core.components.probes.probe_tasks import accuracy_of, probe_task

ALONE = Ranks.alone(torch.device("cpu"))
FORGET = tiny_task().forget
NAN, INFINITE = float("nan"), float("inf")


def broken():
    return broken_in_place(tiny_network(3))


@torch.no_grad()
def broken_in_place(model):
    model[-1].bias[1] = NAN
    return model


def of_stored_predictions(model):
    logits = predict(model, FORGET, classes=4, ranks=ALONE)
    return Outputs.of(logits, FORGET.labels.numpy()).accuracy


def of_best_epoch(model):
    keeper = BestEpoch(model, FORGET, 4, ALONE)
    keeper.after_epoch()
    return keeper.accuracy


def of_rewind(model):
    epochs = EveryEpoch(tiny_task(model=model))
    epochs.after_epoch()
    return 1 - epochs.errors[0]


CALLERS = {
    "prediction": lambda model: accuracy(model, FORGET, classes=4, ranks=ALONE),
    "stored predictions": of_stored_predictions,
    "method": lambda model: tiny_task(model=model).accuracy(FORGET),
    "best epoch": of_best_epoch,
    "rewind": of_rewind,
    "subject of a probe": lambda model: probe_task(model=model).subject.accuracy("forget"),
    "network of a probe": lambda model: probe_task().accuracy(model, "forget"),
    "quantisation": lambda model: quantisation(
        probe_task(model=model), QuantisationSettings(bits=16)
    )["forget"],
}
every_caller = pytest.mark.parametrize("asked", CALLERS.values(), ids=CALLERS)


@every_caller
def test_everybody_counts_right_answers(asked):
    assert asked(tiny_network(3)) == pytest.approx(accuracy_of(tiny_network(3), FORGET))


@every_caller
def test_a_network_that_gives_nan_is_never_right_for_anybody(asked):
    assert asked(broken()) == 0


def test_an_early_stop_does_not_take_nan_for_knowledge():
    with pytest.raises(Enough):
        Target(tiny_task(model=broken()), accuracy=0.0).after_epoch()


def test_relearning_asks_for_no_more_than_a_broken_original_knows():
    found = relearning(probe_task(original=broken()), RelearningSettings(max_steps=2))
    assert found == {"steps": 0.0, "samples": 0.0}


class BreakingTask(RecordingTask):
    """A task whose model answers NaN after its first training."""

    def fit(self, samples, **how):
        super().fit(samples, **how)
        broken_in_place(self.model)


ENDED_BY_ACCURACY = {"duck": {}, "l2ul": {"examples": 1, "steps": 1}, "scar": {"surrogates": 20}}
"""Methods that look at the accuracy on the forget set after each pass, with cheap settings."""


@pytest.mark.parametrize("name", ENDED_BY_ACCURACY)
def test_a_method_ends_with_the_pass_that_leaves_nothing_but_nan(name):
    task, entry = tiny_task(kind=BreakingTask), registry.method.get(name)
    entry.function(task, parse(entry.params, {"epochs": 3, **ENDED_BY_ACCURACY[name]}))
    assert list(task.phases) == ["pass 0"]


@pytest.mark.parametrize("wrong", [NAN, INFINITE, -INFINITE], ids=str)
def test_a_sample_with_a_logit_that_is_not_finite_has_no_class(wrong):
    logits = np.array([[0.0, 1.0], [wrong, 1.0], [2.0, 1.0], [3.0, wrong]], np.float32)
    assert predicted_classes(logits).tolist() == [1, -1, 0, -1]


def test_an_empty_set_has_no_accuracy():
    nothing = np.zeros(0, np.int64)
    assert np.isnan(share_right(nothing, nothing))
