"""Whole experiments on 1, 2 and 4 real ranks (gloo): the same artefacts and the same summary.

                         | precision | data     | methods
resnet18                 | fp32      | resident | all of the main six
resnet18, whole batch    | bf16      | streamed | finetune, ssd
vision transformer       | bf16      | resident | finetune, random_labels
ConvNeXt                 | fp32      | streamed | finetune, random_labels

Compared: sha256 of all weights and predictions, metrics and distances as stored, and the sha256 of
summary.json without measurements. What starts ranks here is the test; torchrun is left to
test_same_bits.py, steps in more combinations to tests/core/engine/test_arithmetic.py.
"""

from pathlib import Path

import pytest

from tests.real_ranks import on_ranks
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    RANDOM_LABELS,
    SIX_METHODS,
    SSD,
    artefacts_of,
    experiment,
    finish,
    folder_store,
    summary_digest,
    summary_of,
)

ADAMW = {"optimizer": {"name": "adamw", "params": {"lr": 0.001}}}
STREAMED = {"execution": {"dataPlacement": "Streamed"}}


def work(*methods, model="resnet18", training=(), params=(), **changes):
    return experiment(
        model={"name": model, "params": dict(params)},
        methods=methods,
        scenarios=[FULL_CLASS],
        training={"microBatches": 4, "batchSize": 100, **dict(training)},
        **changes,
    )


EXPERIMENTS = {
    "resnet18": work(*SIX_METHODS, params={"width": 2}),
    "resnet18, whole batch": work(
        FINETUNE,
        SSD,
        params={"width": 2},
        training={"batchNorm": "batch", "precision": "bf16", "maxGradientNorm": 1.0},
        **STREAMED,
    ),
    "vision transformer": work(
        FINETUNE,
        RANDOM_LABELS,
        model="timm/test_vit",
        params={"inputSize": 32, "dropRate": 0.1, "dropPathRate": 0.1},
        training={"precision": "bf16", **ADAMW},
    ),
    "ConvNeXt": work(
        FINETUNE,
        RANDOM_LABELS,
        model="timm/test_convnext",
        params={"inputSize": 32, "dropPathRate": 0.1},
        training=ADAMW,
        **STREAMED,
    ),
}

every_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


def finish_all(ranks, folder):
    """Each experiment in a store of its own."""
    for name, document in EXPERIMENTS.items():
        finish(document, folder_store(Path(folder) / name), ranks=ranks)


def left(folder, name):
    """What an experiment left: artefacts, and the digest of its summary."""
    storage = folder_store(folder / name)
    return artefacts_of(storage), summary_digest(storage, EXPERIMENTS[name])


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    finish_all(None, folder)
    return folder


@pytest.fixture(scope="module", params=[2, 4])
def on_several(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    on_ranks(request.param, finish_all, str(folder))
    return folder


@every_experiment
def test_several_ranks_leave_what_one_leaves(name, on_one, on_several):
    assert left(on_several, name) == left(on_one, name)


@every_experiment
def test_every_run_of_it_ends_well(name, on_one):
    summary = summary_of(folder_store(on_one / name), EXPERIMENTS[name])
    assert not summary.failures
    assert {stage for stage, _ in left(on_one, name)[0]} >= {"originals", "retrained", "unlearned"}
