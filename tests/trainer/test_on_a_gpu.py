"""A whole seed on a simulated GPU is that of a CPU, to the bit, and its steps do not wait.

The simulated GPU computes on the CPU (tests/simulated_gpu.py), so that whatever differs was decided
otherwise because there is a GPU. One seed has what the stages do differently there: streamed
images, every augmentation, selection of the best epoch, wrappers that look at the model, all
probes, kept weights.

Left out: each method by itself (tests/core/components/test_on_a_gpu.py), real GPUs (tests/gpu).
"""

from unittest import mock

import pytest

from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training import graphs
from tests.simulated_gpu import GPU, simulated_gpu
from tests.trainer.experiments import (
    FINETUNE,
    FULL_CLASS,
    artefacts_of,
    compute,
    experiment,
    folder_store,
)

LOOKING = {"name": "random_labels", "params": {"epochs": 2, "batchSize": 256}}
FEW_STEPS = {"maxSteps": 3}
WORK = experiment(
    width=1,
    training={
        "epochs": 2,
        "microBatches": 2,
        "selection": "best_validation",
        "validation": {"fraction": 0.1},
        "optimizer": {"name": "adamw", "params": {"lr": 0.01}},
        "augmentation": [
            {"name": "random_crop", "params": {"padding": 1}},
            {"name": "rotation", "params": {"degrees": 15}},
            {"name": "horizontal_flip"},
        ],
    },
    scenarios=[FULL_CLASS],
    methods=[
        FINETUNE,
        {**LOOKING, "label": "rewound", "wrappers": [{"name": "rewind"}]},
        {**LOOKING, "label": "stopped", "wrappers": [{"name": "early_stop"}]},
    ],
    metrics=[
        {"name": "accuracy"},
        {"name": "feature_cka"},
        {"name": "linear_recovery"},
        {"name": "knn_recovery"},
        {"name": "quantised_accuracy"},
        {"name": "relearn_time", "params": FEW_STEPS},
    ],
    execution={"dataPlacement": "Streamed"},
    storage={"keepUnlearnedModels": True},
)

TELLS = "telemetry.py progress: seen = float(loss)"
"""The one wait between steps: for the loss, twice a second."""


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """(the GPU afterwards, the store, the result)"""
    store = folder_store(tmp_path_factory.mktemp("gpu"))
    with mock.patch.object(graphs, "FEWEST_STEPS", 0), simulated_gpu() as gpu:
        return gpu, store, compute(WORK, store, ranks=Ranks.alone(GPU))


def test_a_seed_on_a_gpu_is_that_of_a_cpu_and_has_the_same_keys(there, tmp_path):
    _, store, result = there
    assert [run.reason for run in result.runs if run.status != "ok"] == []
    here = folder_store(tmp_path)
    compute(WORK, here)
    assert artefacts_of(store) == artefacts_of(here)


def test_its_trainings_are_replayed_as_graphs_of_one_stream(there):
    streams = there[0].captures
    assert streams
    assert set(streams) == {streams[0]}


def test_no_step_of_a_seed_waits_for_the_gpu(there):
    waits = there[0].in_steps()
    waits.pop(TELLS, None)
    assert not waits
