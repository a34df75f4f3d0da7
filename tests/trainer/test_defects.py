"""Errors of the reference system that sit in how models are trained and compared; ours are absent.

The numbers are those of the list that the project keeps of them; metrics, methods, ranks and draws
have theirs beside their own tests.
"""

from dataclasses import replace

import numpy as np
import pytest
from supreme_trainer.seed import predicting
from supreme_trainer.seed.cells import Cell
from supreme_trainer.seed.components import Components
from supreme_trainer.seed.context import SeedContext
from supreme_trainer.seed.dataset import Data
from supreme_trainer.seed.telemetry import Telemetry
from supreme_trainer.seed.training import OriginalStage, RetrainedStage

from supreme_core import registry
from supreme_core.api.v1alpha1 import Component
from supreme_core.data.image_set import ImageSet
from supreme_core.data.split import Split
from supreme_core.engine.evaluation.cost import CostMeter
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.checkpoint import Checkpoints
from supreme_core.randomness.streams import Streams
from tests.trainer.experiments import (
    FULL_CLASS,
    as_configured,
    compute,
    experiment,
    folder_store,
    planned,
)

DIGEST = "0" * 64


@pytest.fixture
def seed(tmp_path):
    with as_configured() as device:
        work = planned(experiment(training={"augmentation": [{"name": "random_crop"}]})).work
        yield SeedContext(
            Streams(260),
            Components.of(work),
            Ranks.alone(device),
            Telemetry(rank=1),
            scratch=tmp_path,
        )


def digits():
    found: ImageSet = registry.dataset.resolve(
        Component(name="digits", params={"size": 8}), at="spec.dataset"
    )()
    return found


def made(seed, stage):
    return stage.make(Checkpoints.none(seed.ranks)).files


def test_defect_01_no_test_image_is_a_training_image():
    images = digits()
    seen = {image.tobytes() for image in images.train_images}
    assert not [image for image in images.test_images if image.tobytes() in seen]


def test_defect_07_the_test_set_has_no_say_in_the_original_model(seed):
    images = digits()
    spoilt = replace(
        images, test_images=255 - images.test_images, test_labels=images.test_labels[::-1].copy()
    )

    weights = made(seed, OriginalStage(seed, Data.of(seed, images, DIGEST)))
    assert made(seed, OriginalStage(seed, Data.of(seed, spoilt, DIGEST))) == weights


def test_defect_08_retraining_on_everything_is_training_the_original_again(seed):
    data = Data.of(seed, digits(), DIGEST)
    train, test = np.arange(len(data.train)), np.arange(len(data.test))
    nothing = Split(train[:0], train, test[:0], test, ())
    cell = Cell("nothing", "samples", nothing, data)

    retrained = made(seed, RetrainedStage(seed, cell, replica=0))
    assert retrained == made(seed, OriginalStage(seed, data))
    assert retrained != made(seed, RetrainedStage(seed, cell, replica=1))


def test_defect_14_no_evaluation_lies_inside_a_measured_time(seed, monkeypatch, tmp_path):
    inside, predicted = [], []

    def goes_on(meter, original=CostMeter._go_on):
        inside.append(meter)
        original(meter)

    def stops(meter, original=CostMeter._stop):
        inside.remove(meter)
        original(meter)

    def predict(*arguments, original=predicting.predict, **options):
        predicted.append(bool(inside))
        return original(*arguments, **options)

    monkeypatch.setattr(CostMeter, "_go_on", goes_on)
    monkeypatch.setattr(CostMeter, "_stop", stops)
    monkeypatch.setattr(predicting, "predict", predict)
    timed = [{"name": name} for name in ("accuracy", "zrf", "wall_seconds", "speed_up")]
    result = compute(experiment(scenarios=[FULL_CLASS], metrics=timed), folder_store(tmp_path))

    assert predicted
    assert not any(predicted)
    seconds = {run.method: run.metrics["wall_seconds"] for run in result.runs}
    assert seconds["original"] is None
    assert seconds["finetune"] > 0
    assert {run.method: run.metrics["speed_up"] for run in result.runs}["original"] is None
