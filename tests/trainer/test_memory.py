"""A trainer needs little more memory than its data take, from the source's files to the result.

Real processes: a seed on a third of a set of the size of CIFAR-100 beside the same seed on a
hundredth of that, which loads the same libraries and computes in the same batches. What the large
set adds is counted, pages of mapped files too, which the system may drop. Each process reads the
binary files, prepares and commits the arrays, takes a few steps of Adam, predicts everything three
times and scores.

Left out: the memory of a GPU.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from supreme_trainer.seed.prepare import prepare_seed
from supreme_trainer.seed.stage import Stages
from supreme_trainer.seed.telemetry import Telemetry

from supreme_core.api.orders import RunOrder
from supreme_core.data.cifar_files import CIFAR100, superclass_of_fine
from supreme_core.engine.evaluation.reproducibility import environment
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.training.checkpoint import Interruption
from supreme_core.errors import EXIT_TERMINATED
from supreme_core.store.artefacts import Artefacts
from tests import warm
from tests.core.data.public_sets import unpacked
from tests.trainer.experiments import FULL_CLASS, as_configured, experiment, planned

UNSIR = {
    "name": "unsir",
    "params": {"noiseSteps": 1, "noiseSize": 64, "copies": 1, "retainPerClass": 2},
}

TRAINER = """
import atexit, runpy, sys
from pathlib import Path
from supreme_core.engine.evaluation import cost

peak = Path(sys.argv.pop(1))
atexit.register(lambda: peak.write_text(Path("/proc/self/status").read_text()))
cost.CLEAR_REFERENCES = Path("/dev/null")  # or the peak would start again with each measured stage
runpy.run_module("supreme_trainer.process.trainer", run_name="__main__", alter_sys=True)
"""

knows_peaks = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process needs Linux's /proc"
)


@pytest.fixture
def place(tmp_path):
    """A folder that does not stay, because hundreds of megabytes come into it."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def small_or_large_cifar100(folder, *, images):
    """The binary files of a set with random pixels; a sixth of the images is for tests."""
    contents = {}
    for name, count in {"train.bin": images * 5 // 6, "test.bin": images // 6}.items():
        records = np.random.default_rng(0).integers(0, 256, (count, 2 + 3072), dtype=np.uint8)
        fine = np.arange(count) % 100
        records[:, 0], records[:, 1] = superclass_of_fine()[fine], fine
        contents[name] = records.tobytes()
    unpacked(folder, CIFAR100, contents)


def order_for(document, store):
    whole = planned(document)
    return RunOrder(experiment=whole.experiment, work=whole.work, seed=260, store=store)


def started(folder, *, images):
    """A trainer that computes a seed from nothing."""
    folder.mkdir()
    small_or_large_cifar100(folder, images=images)
    document = experiment(
        dataset={"name": "cifar100", "params": {"source": str(folder)}},
        width=1,
        training={"epochs": 0},
        scenarios=[FULL_CLASS],
        methods=[UNSIR],
        metrics=[{"name": "accuracy"}],
    )
    order = order_for(document, str(folder / "store"))
    (folder / "order.json").write_text(json.dumps(order.to_document()))
    arguments = [folder / "status", folder / "order.json", "--device", "cpu"]
    return subprocess.Popen(
        [warm.python(), "-c", TRAINER, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def peak(folder, process):
    """Most resident bytes of a trainer that has come to a result."""
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert list(folder.rglob("result.json"))
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())[1])


def test_arrays_that_the_store_has_are_not_kept_a_second_time(store, tmp_path):
    """On S3 the trainer's folder then has the copies that it reads, under names of their own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    order = order_for(experiment(), store.uri)
    with as_configured() as device:
        stages = Stages(
            Artefacts(store, scratch),
            ranks=Ranks.alone(device),
            environment=environment(Ranks.alone(device), reduction="tree"),
            telemetry=Telemetry(rank=1),
            interruption=Interruption(EXIT_TERMINATED),
        )
        prepare_seed(order, stages, ranks=Ranks.alone(device), telemetry=Telemetry(rank=1))

    assert [item.key for item in store.list("objects/datasets") if "train_images-" in item.key]
    assert not list(scratch.glob("*_images*"))


def stored_bytes(folder, stage):
    return sum(path.stat().st_size for path in folder.glob(f"store/objects/{stage}/*/*/*-*"))


@knows_peaks
def test_a_set_of_a_third_of_cifar100_adds_less_than_twice_its_bytes(place):
    """The bound also has three copies of the model, and Adam's two moments of it."""
    small, large = place / "small", place / "large"
    processes = [started(small, images=200), started(large, images=20_000)]

    without, with_data = (
        peak(folder, process) for folder, process in zip((small, large), processes, strict=True)
    )

    data, model = stored_bytes(large, "datasets"), stored_bytes(large, "originals")
    assert data > 20_000 * 3 * 32 * 32
    assert 0.5 * data < with_data - without < 2 * data + (3 + 2) * model
