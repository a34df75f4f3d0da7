"""Whole experiments on 1, 2 and 4 real ranks (gloo): the same artefacts and the same summary.

                         | precision | data     | methods                 | ranks   | metrics
resnet18                 | fp32      | resident | all of the main six     | 1, 4    | all by default
resnet18, whole batch    | bf16      | streamed | finetune, ssd           | 1, 4    | accuracy
vision transformer       | bf16      | resident | finetune, random_labels | 1, 2    | accuracy
ConvNeXt                 | fp32      | streamed | finetune, random_labels | 1, 2    | accuracy

Compared: sha256 of all weights and predictions, metrics and distances as stored, and the sha256 of
summary.json without measurements. What starts ranks here is the test; torchrun, with the main six
on two ranks, is left to test_same_bits.py, steps in more combinations to
tests/core/engine/test_numerics.py.
"""

from functools import cache
from typing import Any, NamedTuple

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
FEW = {"metrics": [{"name": "accuracy"}]}
"""All are functions of predictions, which are compared to the bit."""


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
        **FEW,
    ),
    "vision transformer": work(
        FINETUNE,
        RANDOM_LABELS,
        model="timm/test_vit",
        params={"inputSize": 32, "dropRate": 0.1, "dropPathRate": 0.1},
        training={"precision": "bf16", **ADAMW},
        **FEW,
    ),
    "ConvNeXt": work(
        FINETUNE,
        RANDOM_LABELS,
        model="timm/test_convnext",
        params={"inputSize": 32, "dropPathRate": 0.1},
        training=ADAMW,
        **STREAMED,
        **FEW,
    ),
}

CASES = [
    (4, "resnet18"),
    (4, "resnet18, whole batch"),
    (2, "vision transformer"),
    (2, "ConvNeXt"),
]


class Left(NamedTuple):
    """artefacts: as `artefacts_of` gives them.  digest: of the summary."""

    storage: Any
    artefacts: dict
    digest: str


def finish_on(ranks, name, folder):
    finish(EXPERIMENTS[name], folder_store(folder), ranks=ranks)


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """left(ranks, name): what so many ranks left of an experiment, which they compute once."""

    @cache
    def run(ranks, name):
        folder = tmp_path_factory.mktemp("store")
        if ranks == 1:
            finish_on(None, name, folder)
        else:
            on_ranks(ranks, finish_on, name, str(folder))
        storage = folder_store(folder)
        return Left(storage, artefacts_of(storage), summary_digest(storage, EXPERIMENTS[name]))

    return run


@pytest.mark.parametrize(("ranks", "name"), CASES)
def test_several_ranks_leave_what_one_leaves(ranks, name, left):
    several, one = left(ranks, name), left(1, name)
    assert (several.artefacts, several.digest) == (one.artefacts, one.digest)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_run_of_it_ends_well(name, left):
    one = left(1, name)
    failures = summary_of(one.storage, EXPERIMENTS[name]).failures
    assert {failure.kind for failure in failures} <= {"undefined"}
    assert {stage for stage, _ in one.artefacts} >= {"originals", "retrained", "unlearned"}
